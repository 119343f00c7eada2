"""Vocabulary projection: a dense encoder gets a head from its input embeddings, and stays what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import TEXTS, write_bert_tokenizer

from lsr import load_encoder
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError, UnsupportedError
from lsr.training.recipe_distil import StudentRecipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.training.student_base import pad_rows  # noqa: E402
from lsr.training.student_init import set_head, transformer_folder, vocabulary_projection  # noqa: E402
from lsr.training.students import build_student  # noqa: E402

DOCUMENTS = [text for text in TEXTS if text.strip()]


def write_dense(path: Path, family: str = "bert", **changes: Any) -> Path:
    """A dense encoder's folder: a body without a head, and a tokenizer."""
    from sparse_models import bert_vocabulary
    from transformers import AutoConfig, AutoModel

    sizes = {
        "vocab_size": len(bert_vocabulary()),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    }
    if family == "distilbert":
        sizes = {**sizes, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(family, **{**sizes, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    model.save_pretrained(path)
    write_bert_tokenizer(path, limit=64)
    return path


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "mpnet"])
def test_the_head_is_the_embeddings_of_the_encoder(tmp_path: Path, family: str) -> None:
    from transformers import AutoModel

    folder = write_dense(tmp_path / "dense", family)
    model = vocabulary_projection(folder)
    set_head(model, Tokeniser(folder, 64), DOCUMENTS, active=40)
    body = AutoModel.from_pretrained(folder).eval()
    ids, mask = pad_rows(Tokeniser(folder, 64).encode(DOCUMENTS)[0])
    with torch.no_grad():
        states = body(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = model(input_ids=ids, attention_mask=mask).logits
    embeddings, real = body.get_input_embeddings().weight.detach(), mask.bool()
    # The norm of the head gives every state the same spread, which states of a body with a norm have nearly.
    spread = states[real].std(1, correction=0).mean()
    centred = (states - states.mean(-1, keepdim=True)) / states.std(-1, keepdim=True, correction=0)
    expected = centred * spread @ embeddings.T
    difference = (logits - expected)[real]
    constant = difference.mean(0)  # of every term: the output bias
    assert (difference - constant).abs().max() < 1e-3 * expected[real].std()
    active = (logits.masked_fill(~real.unsqueeze(-1), -1).amax(1) > 0).sum(1).double()
    assert 20 <= float(active.median()) <= 60


@pytest.mark.parametrize("kind", ["symmetric", "idf"])
def test_a_student_begins_with_a_dense_encoder(tmp_path: Path, kind: str) -> None:
    folder = write_dense(tmp_path / "dense")
    recipe = StudentRecipe(kind=kind, model=str(folder), init="dense", max_length=64)  # type: ignore[arg-type]
    student = build_student(recipe, documents=DOCUMENTS)
    student.save(tmp_path / "saved")
    with torch.no_grad():
        expected = student.documents(student.tokenise(DOCUMENTS)).numpy()
        queries = student.queries(student.tokenise(DOCUMENTS, "query")).numpy()
    encoder = load_encoder(tmp_path / "saved", device="cpu")
    assert np.allclose(encoder.encode_documents(DOCUMENTS).toarray(), expected, atol=1e-4)
    assert np.allclose(encoder.encode_queries(DOCUMENTS).toarray(), queries, atol=1e-4)
    assert (expected > 0).any(1).all()


def test_every_document_counts_for_the_idf_though_some_set_the_head(tmp_path: Path) -> None:
    folder = write_dense(tmp_path / "dense")
    recipe = StudentRecipe(kind="idf", model=str(folder), init="dense")
    texts = ["heart"] * 300 + ["attack"] * 100
    student = build_student(recipe, documents=iter(texts))
    tokens = student.tokenise(["heart", "attack"], "query")
    found = student.queries(tokens).amax(1).tolist()
    assert found == pytest.approx([np.log1p(100.5 / 300.5), np.log1p(300.5 / 100.5)])


def test_the_head_learns_as_any_other(tmp_path: Path) -> None:
    folder = write_dense(tmp_path / "dense")
    student = build_student(StudentRecipe(model=str(folder), init="dense"), documents=DOCUMENTS)
    student.documents(student.tokenise(DOCUMENTS)).sum().backward()
    lacking = [
        name for name, p in student.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)
    ]
    # A key's bias moves every score of a query alike, so that softmax gives it no gradient.
    assert all("key.bias" in name or "token_type" in name for name in lacking), lacking


def test_the_transformer_of_a_sentence_encoder_is_found(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(
        '[{"idx": 0, "path": "0_Transformer", "type": "x.Transformer"}]', encoding="utf-8"
    )
    inner = write_dense(tmp_path / "0_Transformer")
    assert transformer_folder(tmp_path) == inner and transformer_folder(inner) == inner
    student = build_student(StudentRecipe(model=str(tmp_path), init="dense"), documents=DOCUMENTS)
    assert student.dimension == student.head.weight.shape[0]


def test_what_cannot_be_projected_is_refused(tmp_path: Path) -> None:
    dense = write_dense(tmp_path / "dense")
    with pytest.raises(InputError, match="say `init: dense`"):
        build_student(StudentRecipe(model=str(dense)))
    with pytest.raises(InputError, match="set by some texts"):
        build_student(StudentRecipe(model=str(dense), init="dense"))
    narrow = write_dense(tmp_path / "electra", "electra", embedding_size=16)
    with pytest.raises(UnsupportedError, match="electra"):
        build_student(StudentRecipe(model=str(narrow), init="dense"), documents=DOCUMENTS)
