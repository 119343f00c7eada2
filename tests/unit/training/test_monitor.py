"""What a run says of itself: alarms, the log, the plot; and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.errors import InputError  # noqa: E402
from lsr.training.checkpoints import Checkpoints, load_trained, trained_state  # noqa: E402
from lsr.training.log_plot import write_plot  # noqa: E402
from lsr.training.monitor import Alarms, Monitor, TrainingError, read_log  # noqa: E402
from lsr.training.trainer import learning_rate  # noqa: E402


def parts(terms: float, *, empty: float = 0.0, loss: float = 1.0) -> dict[str, float]:
    return {"loss": loss, "document_terms": terms, "empty_documents": empty, "query_terms": 2.0, "flops": 0.1}


def test_collapse_to_nothing_is_told_once_in_a_while() -> None:
    alarms = Alarms(1000)
    assert not alarms.look(1, parts(100))
    (sentence,) = alarms.look(2, parts(0, empty=0.8))
    assert "80% of the documents have no term" in sentence and "regulariser.document.weight" in sentence
    assert not alarms.look(3, parts(0, empty=0.9))
    assert len(alarms.look(500, parts(0, empty=0.9))) == 1
    assert [step for step, _ in alarms.raised] == [2, 500]


def test_all_active_and_growing_documents_are_told() -> None:
    assert "600 of 1,000 terms" in Alarms(1000).look(1, parts(600))[0]
    alarms = Alarms(10_000)
    for step in range(1, 60):
        assert not alarms.look(step, parts(100))
    found = [s for step in range(60, 120) for s in alarms.look(step, parts(500))]
    assert len(found) == 1 and "grew from 100" in found[0]


def test_an_infinite_loss_ends_the_run_with_a_remedy() -> None:
    for loss in (math.nan, math.inf):
        with pytest.raises(TrainingError, match=r"step 7.*--resume.*optimiser\.lr"):
            Alarms(10).look(7, parts(3, loss=loss))


def test_alarms_survive_a_checkpoint() -> None:
    one, other = Alarms(1000), Alarms(1000)
    for step in range(80):
        one.look(step, parts(100))
    other.restore(one.state())
    assert other.look(81, parts(700)) == one.look(81, parts(700))
    assert other.raised == one.raised


def monitor(folder: Path, stage: int = 0) -> Monitor:
    return Monitor(folder, stage=stage, steps=10, dimension=100, enabled=True)


def test_a_resumed_log_is_cut_back(tmp_path: Path) -> None:
    first = monitor(tmp_path)
    first.begin(0, 0.0)
    for step in range(1, 6):
        first.step(step, parts(10 + step), lr=0.1, texts=4)
    first.measured(5, 0.25)
    again = monitor(tmp_path)
    again.begin(3, 12.0)
    again.step(4, parts(99), lr=0.1, texts=4)
    rows = read_log(tmp_path / "log.csv")
    assert [(row["step"], row["document_terms"]) for row in rows] == [(1, 11), (2, 12), (3, 13), (4, 99)]
    assert rows[-1]["seconds"] >= 12 and "dev_ndcg_at_10" not in rows[0]
    later = monitor(tmp_path, stage=1)
    later.begin(0, 0.0)
    later.step(1, {"loss": 2.0, "mlm": 1.5}, lr=0.1, texts=4)
    rows = read_log(tmp_path / "log.csv")
    assert len(rows) == 5 and rows[-1]["mlm"] == 1.5 and "mlm" not in rows[0]
    write_plot(rows, tmp_path / "log.svg")
    drawn = ElementTree.parse(tmp_path / "log.svg").getroot()
    labels = [node.text for node in drawn.iter() if node.tag.endswith("text")]
    assert "loss" in labels and "terms a document" in labels and "step 5" in labels


def test_the_line_says_where_the_run_stands(tmp_path: Path) -> None:
    one = monitor(tmp_path)
    one.begin(0, 0.0)
    one.step(1, parts(12), lr=0.1, texts=4)
    one.measured(1, 0.5)
    line = one.summary(1, 8.0)
    for part in (
        "loss 1",
        "12 terms/doc",
        "2.0 terms/query",
        "FLOPS 0.10",
        "dev NDCG@10 0.5000",
        "8 texts/s",
        "left",
    ):
        assert part in line


def test_the_newest_checkpoints_stay_whole(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.newest() is None and kept.average(3) is None
    for step in (1, 2, 3):
        kept.save(
            step, {"step": step, "model": {"w": torch.full((2,), float(step)), "n": torch.tensor(step)}}
        )
    assert kept.steps() == [2, 3] and kept.newest()["step"] == 3
    average = kept.average(3)
    assert average["w"].tolist() == [2.5, 2.5] and average["w"].dtype == torch.float32
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (tmp_path / "step-00000003.pt").write_bytes(b"half")
    with pytest.raises(InputError, match=r"step-00000003\.pt cannot be read"):
        kept.newest()


def test_frozen_weights_stay_out_of_a_checkpoint() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)
    state = trained_state(model)
    assert set(state) == {"1.weight", "1.bias"}
    with torch.no_grad():
        model[1].weight.zero_()
    load_trained(model, state)
    assert torch.equal(model[1].weight, state["1.weight"])
    with pytest.raises(InputError, match="another model"):
        load_trained(model, {"1.weight": state["1.weight"]})


def test_the_rate_goes_up_and_down() -> None:
    factors = [learning_rate(step, steps=100, warmup=0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert factors[10] == 1.0 and factors[-1] == pytest.approx(1 / 90)
    assert learning_rate(0, steps=5, warmup=0) == 1.0
