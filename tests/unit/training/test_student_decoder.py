"""Decoder students: LoRA or all weights, three ways to read a text, and folders that `lsr` opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from decoder_models import TEXTS, make_model, make_tokenizer

from lsr import load_encoder
from lsr.errors import InputError
from lsr.training.recipe_distil import LoraRecipe, StudentRecipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.encoders.head import plain_head  # noqa: E402
from lsr.training.student_decoder import build_decoder  # noqa: E402
from lsr.training.student_tables import make_table  # noqa: E402
from lsr.training.students import build_student  # noqa: E402

QUERIES = ["how do vaccines work", "", "wind"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base") / "causal"
    make_model("llama").save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(end=True), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    return folder


def make(base: Path, **options):
    options = {"max_length": 24, **options}
    student = build_student(StudentRecipe(kind="decoder", model=str(base), **options))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:  # peft's own start changes nothing
                parameter.normal_(0, 0.2)
    return student


def vectors(student, texts, role) -> np.ndarray:
    with torch.no_grad():
        return student(student.tokenise(texts, role), role).numpy()


@pytest.mark.parametrize("lora", [None, LoraRecipe(rank=4)])
@pytest.mark.parametrize("attention", ["echo", "bidirectional", "causal"])
def test_a_saved_student_gives_the_same_vectors(base: Path, tmp_path: Path, attention: str, lora) -> None:
    pytest.importorskip("peft")
    student = make(
        base, attention=attention, lora=lora, document_prompt="document : ", query_prompt="query : "
    )
    student.save(tmp_path / "saved")
    encoder = load_encoder(tmp_path / "saved", device="cpu")
    documents, queries = vectors(student, TEXTS, "document"), vectors(student, QUERIES, "query")
    assert encoder.dimension == student.dimension and (documents > 0).any(1).all()
    assert np.allclose(encoder.encode_documents(TEXTS).toarray(), documents, atol=1e-4)
    assert np.allclose(encoder.encode_queries(QUERIES).toarray(), queries, atol=1e-4)
    with pytest.raises(InputError, match="not empty"):
        student.save(tmp_path / "saved")


def test_vectors_are_those_of_the_plain_head(base: Path) -> None:
    student = make(base)
    tokens = student.tokenise(TEXTS)
    found = student.documents(tokens)
    hidden = student.decoder.hidden_states(tokens.input_ids, tokens.attention_mask)
    weight, bias, _ = student.decoder.head()
    plain = plain_head(hidden, weight[: student.dimension], bias, tokens.pool_mask)
    assert torch.allclose(found, plain, atol=1e-5)
    parameters = list(student.parameters())
    gradient = torch.rand_like(found)
    for a, b in zip(
        torch.autograd.grad(found, parameters, gradient, allow_unused=True),
        torch.autograd.grad(plain, parameters, gradient, allow_unused=True),
        strict=True,
    ):
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-4, rtol=1e-3)


def test_lora_trains_nothing_but_its_own_matrices(base: Path) -> None:
    pytest.importorskip("peft")
    student = make(base, lora=LoraRecipe(rank=2, targets=("q_proj", "v_proj")))
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    assert all("q_proj" in name or "v_proj" in name for name in trained)
    (group,) = student.parameter_groups(1e-4)
    assert len(group["params"]) == len(trained)
    student.documents(student.tokenise(TEXTS)).sum().backward()
    assert all(p.grad is not None for name, p in student.named_parameters() if name in trained)
    everything = make(base)
    assert all(p.requires_grad for p in everything.parameters())


def test_a_saved_adapter_becomes_part_of_the_next_base(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    first = make(base, lora=LoraRecipe(rank=2))
    first.save(tmp_path / "first")
    second = build_student(
        StudentRecipe(kind="decoder", model=str(tmp_path / "first"), lora=LoraRecipe(rank=3), max_length=24)
    )
    assert np.allclose(vectors(first, TEXTS, "document"), vectors(second, TEXTS, "document"), atol=1e-4)
    second.save(tmp_path / "second")
    found = load_encoder(tmp_path / "second", device="cpu").encode_documents(TEXTS).toarray()
    assert np.allclose(found, vectors(first, TEXTS, "document"), atol=1e-4)


def test_queries_can_be_looked_up(base: Path, tmp_path: Path) -> None:
    names = len(make_tokenizer().get_vocab())
    table = make_table(np.linspace(0.1, 2, names).astype(np.float32), [0, 1, 2], form="softplus")
    student = build_decoder(StudentRecipe(kind="decoder", model=str(base), max_length=24), table).eval()
    assert student.inference_free and len(student.query_parameters()) == 1
    queries, documents = student.tokenise(QUERIES, "query"), student.documents(student.tokenise(TEXTS))
    assert torch.allclose(
        student.scores(queries, documents), student.queries(queries) @ documents.T, atol=1e-4
    )
    student.save(tmp_path / "saved")
    found = load_encoder(tmp_path / "saved", device="cpu").encode_queries(QUERIES).toarray()
    assert np.allclose(found, vectors(student, QUERIES, "query"), atol=1e-4) and found.any()


def test_parts_of_a_batch_are_the_batch(base: Path) -> None:
    student = make(base, attention="bidirectional")
    tokens = student.tokenise(TEXTS)
    with torch.no_grad():
        parts = torch.cat([student.documents(tokens[i : i + 2]) for i in range(0, len(tokens), 2)])
        assert torch.allclose(parts, student.documents(tokens), atol=1e-5)


def test_random_weights_by_architecture(base: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    recipe = StudentRecipe(
        kind="decoder", tokenizer=str(base), architecture={"model_type": "llama", **sizes}, max_length=16
    )
    student = build_student(recipe)
    assert vectors(student, TEXTS, "document").shape == (4, student.dimension)
    with pytest.raises(InputError, match="folder of its tokenizer"):
        build_student(StudentRecipe(kind="decoder", architecture={"model_type": "llama", **sizes}))
    with pytest.raises(InputError, match="LoRA"):
        make(base, lora=LoraRecipe(targets=("nothing_like_it",)))
