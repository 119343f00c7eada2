"""One step's gradients: the same for any micro-batch and any number of processes, dropout seeded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from lsr.training.collection import Candidates  # noqa: E402
from lsr.training.losses import RankingLoss  # noqa: E402
from lsr.training.objective import Objective, statistics  # noqa: E402
from lsr.training.processes import Processes, shares  # noqa: E402
from lsr.training.regularisers import Ramp, Regulariser  # noqa: E402
from lsr.training.sampler import Sampler  # noqa: E402
from lsr.training.step import GradCache  # noqa: E402


class Bags(torch.nn.Module):
    """A student small enough to see through: a text is a sum of its words' rows."""

    dimension = 40

    def __init__(self, *, learned_queries: bool = True, dropout: float = 0.0, free: bool = False) -> None:
        super().__init__()
        self.inference_free = free
        generator = torch.Generator().manual_seed(3)
        self.words = torch.nn.Parameter(torch.randn(30, 40, generator=generator))
        self.table = torch.nn.Parameter(torch.rand(30, generator=generator), requires_grad=learned_queries)
        self.dropout = torch.nn.Dropout(dropout)

    def tokenise(self, texts, role):
        ids = torch.zeros(len(texts), 30)
        for row, text in enumerate(texts):
            for word in text.split():
                ids[row, int(word)] = 1
        return ids

    def documents(self, tokens):
        return torch.relu(self.dropout(tokens @ self.words))

    def queries(self, tokens):
        return torch.nn.functional.pad(tokens * self.table, (0, 10))

    def scores(self, tokens, documents):
        return self.queries(tokens) @ documents.T


RNG = np.random.default_rng(0)
DOCUMENTS = [" ".join(map(str, RNG.choice(30, 6, replace=False))) for _ in range(50)]
QUERIES = [" ".join(map(str, RNG.choice(30, 2, replace=False))) for _ in range(20)]
CANDIDATES = Candidates(
    RNG.integers(-1, 50, (20, 6)),
    RNG.normal(size=(20, 6)).astype(np.float32),
    np.tile([True, False, False, False, False, False], (20, 1)),
)


def objective(in_batch=False) -> Objective:
    def teacher(queries, documents):
        return np.cos(queries[:, None] * 7.0 + documents).astype(np.float32)

    losses = {"kl": 1.0, "margin-mse": 0.05, "pool-queries": 0.5}
    penalty = Regulariser("flops", Ramp(0.3))
    positives = [np.array([row[0]]) for row in CANDIDATES.documents]
    return Objective(RankingLoss(losses), penalty, penalty, teacher, positives, in_batch)


def gradients(micro_batch: int, *, in_batch=False, dropout=0.0, step=2, **options) -> dict[str, torch.Tensor]:
    student = Bags(dropout=dropout, **options)
    batch = Sampler(CANDIDATES, batch=8, width=4, pool=5).draw(step)
    cache = GradCache(student, Processes("cpu"), micro_batch=micro_batch)
    texts = [DOCUMENTS[i] for i in batch.documents]
    queries, pool = [QUERIES[i] for i in batch.queries], [QUERIES[i] for i in batch.pool]
    outcome = cache.step(step, texts, queries, objective(in_batch).of(batch, step), pool=pool)
    cache.processes.add_gradients(p for p in student.parameters() if p.requires_grad)
    assert set(outcome.parts) >= {"loss", "kl", "margin-mse", "pool-queries", "document_penalty", "flops"}
    return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("micro_batch", [1, 3, 13])
def test_gradients_do_not_depend_on_the_micro_batch(micro_batch: int, free: bool, in_batch: bool) -> None:
    whole = gradients(1000, in_batch=in_batch)
    parts = gradients(micro_batch, in_batch=in_batch, free=free)
    assert set(whole) == set(parts) == {"words", "table"}
    for name, gradient in whole.items():
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-4)


def test_fixed_queries_get_no_gradient() -> None:
    assert set(gradients(3, learned_queries=False)) == {"words"}


def test_both_passes_draw_the_same_dropout_and_steps_differ() -> None:
    """Gradients through a dropped unit are 0 in both passes: the step repeats, another one differs."""
    first, again = gradients(3, dropout=0.5), gradients(3, dropout=0.5)
    torch.testing.assert_close(first["words"], again["words"], atol=0, rtol=0)
    student = Bags(dropout=0.5)
    cache = GradCache(student, Processes("cpu"), micro_batch=3)
    one, other = cache.encode("document", DOCUMENTS[:3], 0), cache.encode("document", DOCUMENTS[:3], 1)
    assert not torch.equal(one, other)
    assert torch.equal(one, cache.encode("document", DOCUMENTS[:3], 0))


def test_two_processes_do_what_one_does(tmp_path) -> None:
    """Two gloo processes, each with half of the texts, against this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (
        "import sys, json; sys.path.insert(0, sys.argv[2]);"
        "import test_step as t; g = t.gradients(3); f = t.gradients(3, free=True);"
        "g.update({k + ' free': v for k, v in f.items()});"
        "import torch; rank = torch.distributed.get_rank();"
        "json.dump({k: v.tolist() for k, v in g.items()}, open(f'{sys.argv[1]}/{rank}.json', 'w'));"
        "torch.distributed.destroy_process_group()"
    )
    here = os.path.dirname(os.path.abspath(__file__))
    workers = []
    for rank in range(2):
        environment = {
            **os.environ,
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        }
        workers.append(subprocess.Popen([sys.executable, "-c", script, str(tmp_path), here], env=environment))
    assert [worker.wait(120) for worker in workers] == [0, 0]
    whole = gradients(1000)
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(found) == 4
        for name, gradient in found.items():
            expected = whole[name.removesuffix(" free")]
            torch.testing.assert_close(torch.tensor(gradient), expected, atol=1e-5, rtol=1e-4)


def test_shares_cover_all() -> None:
    assert [list(r) for r in shares(7, 3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert [len(r) for r in shares(1, 3)] == [1, 0, 0]


def test_statistics_of_a_batch() -> None:
    documents = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    queries = torch.tensor([[0.0, 1.0, 1.0]])
    found = statistics(documents, queries)
    assert found == {
        "document_terms": 1.0,
        "query_terms": 2.0,
        "flops": 0.5,
        "empty_documents": 0.5,
        "largest_weight": 2.0,
    }
