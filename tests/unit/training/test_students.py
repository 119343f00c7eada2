"""Word-piece students: their vectors are the plain head's, and those of the folders that they save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sparse_models import TEXTS, bert_vocabulary, write_bert, write_roberta, write_router, write_symmetric

from lsr import load_encoder
from lsr.errors import InputError, InputFileError, UnsupportedError
from lsr.training.recipe_distil import StudentRecipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.encoders.head import plain_head  # noqa: E402
from lsr.training.student_base import looked_up, looked_up_scores  # noqa: E402
from lsr.training.student_init import recompute_layers  # noqa: E402
from lsr.training.students import build_student  # noqa: E402

DOCUMENTS = [text for text in TEXTS if text.strip()]
QUERIES = ["how do vaccines work", "heart attack risk", "", "climate climate climate ocean [MASK]"]
KINDS = ("symmetric", "splade-doc", "idf", "table")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "model")


def make(model: Path, kind: str, **options):
    """A student of a kind, with any table moved away from where it began."""
    student = build_student(StudentRecipe(kind=kind, model=str(model), **options), documents=DOCUMENTS)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in student.query_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return student


def vectors(student, texts, role) -> np.ndarray:
    tokens = student.tokenise(texts, role)
    with torch.no_grad():
        return student(tokens, role).numpy()


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_student_gives_the_same_vectors(
    bert: Path, tmp_path: Path, kind: str, activation: str
) -> None:
    student = make(bert, kind, activation=activation, max_length=48)
    student.save(tmp_path / "saved")
    encoder = load_encoder(tmp_path / "saved", device="cpu")
    assert encoder.dimension == student.dimension and encoder.max_length == 48
    documents, queries = vectors(student, DOCUMENTS, "document"), vectors(student, QUERIES, "query")
    assert np.allclose(encoder.encode_documents(DOCUMENTS).toarray(), documents, atol=1e-4)
    assert np.allclose(encoder.encode_queries(QUERIES).toarray(), queries, atol=1e-4)
    assert (documents > 0).any(1).all() and (queries >= 0).all()
    with pytest.raises(InputError, match="not empty"):
        student.save(tmp_path / "saved")


@pytest.mark.parametrize("kind", KINDS)
def test_sentence_transformers_opens_what_is_saved(bert: Path, tmp_path: Path, kind: str) -> None:
    st = pytest.importorskip("sentence_transformers")
    student = make(bert, kind, max_length=48)
    student.save(tmp_path / "saved")
    other = st.SparseEncoder(str(tmp_path / "saved"), device="cpu")
    documents = other.encode_document(DOCUMENTS, convert_to_sparse_tensor=False).numpy()
    queries = other.encode_query(QUERIES, convert_to_sparse_tensor=False).numpy()
    assert np.allclose(documents, vectors(student, DOCUMENTS, "document"), atol=1e-4)
    assert np.allclose(queries, vectors(student, QUERIES, "query"), atol=1e-4)


@pytest.mark.parametrize("kind", ["symmetric", "table"])
def test_vectors_and_gradients_are_those_of_the_plain_head(bert: Path, kind: str) -> None:
    student = make(bert, kind)
    tokens = student.tokenise(DOCUMENTS)
    found = student.documents(tokens)
    gradient = torch.rand_like(found)
    parameters = [p for p in student.parameters() if p.requires_grad]
    own = torch.autograd.grad(found, parameters, gradient, allow_unused=True)
    plain = plain_head(student.states(tokens), student.head.weight, student.head.bias, tokens.attention_mask)
    expected = torch.autograd.grad(plain, parameters, gradient, allow_unused=True)
    assert torch.allclose(found, plain, atol=1e-5)
    for a, b in zip(own, expected, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def test_queries_of_the_inference_free_kinds_are_look_ups(bert: Path) -> None:
    vocabulary = {piece: i for i, piece in enumerate(bert_vocabulary())}
    texts = ["heart attack heart", "the [MASK]"]
    binary = vectors(make(bert, "splade-doc"), texts, "query")
    assert np.flatnonzero(binary[0]).tolist() == sorted(vocabulary[w] for w in ("heart", "attack"))
    assert set(binary[0][binary[0] > 0]) == {1.0}
    assert np.flatnonzero(binary[1]).tolist() == [vocabulary["the"]]  # special tokens are no words
    idf = build_student(StudentRecipe(kind="idf", model=str(bert)), documents=["heart a", "heart b", "c"])
    weights = vectors(idf, texts, "query")[0]
    assert weights[vocabulary["heart"]] == pytest.approx(np.log1p((3 - 2 + 0.5) / 2.5))
    assert weights[vocabulary["attack"]] == pytest.approx(np.log1p((3 - 1 + 0.5) / 1.5))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_inner_products_with_their_gradients(bert: Path, kind: str) -> None:
    student = make(bert, kind)
    queries = student.tokenise(QUERIES, "query")
    documents = student.documents(student.tokenise(DOCUMENTS)).detach().requires_grad_()
    scores = student.scores(queries, documents)
    plain = student.queries(queries) @ documents.T
    assert torch.allclose(scores, plain, rtol=1e-5, atol=1e-5)
    wanted = [documents, *student.query_parameters()]
    factors = torch.rand_like(scores)
    for a, b in zip(
        torch.autograd.grad(scores, wanted, factors), torch.autograd.grad(plain, wanted, factors), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_looked_up_scores_have_the_gradients_of_differences() -> None:
    columns = torch.tensor([[1, 3, 0], [2, 0, 0]])
    weights = torch.tensor([[0.5, 2.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    documents = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, d: looked_up_scores(columns, w, d), (weights, documents))
    assert torch.autograd.gradcheck(lambda w: looked_up(columns, w, 5), (weights,))
    nothing = looked_up_scores(torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0), documents)
    assert nothing.tolist() == [[0.0] * 4] * 2


def test_parts_of_a_batch_are_the_batch(bert: Path) -> None:
    student = make(bert, "table")
    for role, texts in (("document", DOCUMENTS), ("query", QUERIES)):
        tokens = student.tokenise(texts, role)
        parts = [tokens[start : start + 2] for start in range(0, len(tokens), 2)]
        with torch.no_grad():
            whole = student(tokens, role)
            assert torch.allclose(torch.cat([student(part, role) for part in parts]), whole, atol=1e-5)
        assert len(tokens) == len(texts) and len(tokens.to("cpu")) == len(texts)
    assert student.tokenise(DOCUMENTS)[:1].input_ids.shape[1] < student.tokenise(DOCUMENTS).input_ids.shape[1]


def test_groups_separate_matrices_vectors_and_the_table(bert: Path) -> None:
    groups = {g["name"]: g for g in make(bert, "table").parameter_groups(1e-4, 1e-2, 0.1)}
    assert {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()} == {
        "matrices": (1e-4, 0.1),
        "vectors": (1e-4, 0.0),
        "queries": (1e-2, 0.0),
    }
    assert len(groups["queries"]["params"]) == 1
    assert {p.dim() for p in groups["vectors"]["params"]} == {1}
    assert "queries" not in {g["name"] for g in make(bert, "idf").parameter_groups(1e-4)}
    student = make(bert, "table")
    listed = [p for g in student.parameter_groups(1e-4) for p in g["params"]]
    assert len({id(p) for p in listed}) == len(listed) == len(list(student.parameters()))


def test_training_moves_a_table_and_keeps_it_above_zero(bert: Path) -> None:
    for form in ("softplus", "relu", "linear"):
        student = make(bert, "table", table=form)
        optimiser = torch.optim.AdamW(student.parameter_groups(1e-4, 0.5), foreach=False)
        queries, documents = student.tokenise(QUERIES, "query"), student.tokenise(DOCUMENTS)
        before = student.table.fold()
        for _ in range(12):
            optimiser.zero_grad()
            student.scores(queries, student.documents(documents)).sum().backward()
            optimiser.step()
        after = student.table.fold()
        assert (after >= 0).all() and after.sum() < before.sum()
        assert after[[0, 1, 2, 3, 4]].tolist() == [0.0] * 5


@pytest.mark.parametrize("form", ["softplus", "relu"])
def test_a_learned_table_begins_with_the_idf(bert: Path, form: str) -> None:
    recipe = {"model": str(bert)}
    fixed = build_student(StudentRecipe(kind="idf", **recipe), documents=DOCUMENTS)
    learned = build_student(StudentRecipe(kind="table", table=form, **recipe), documents=DOCUMENTS)
    assert np.allclose(fixed.table.fold(), learned.table.fold(), atol=2e-4)


def test_a_linear_table_begins_with_ones(bert: Path) -> None:
    student = build_student(StudentRecipe(kind="table", table="linear", idf="ones", model=str(bert)))
    assert np.allclose(student.table.fold()[5:], 1.0, atol=1e-5)
    # Its embeddings are the model's: they are no parameters of the query side.
    assert sum(p.numel() for p in student.query_parameters()) == 32 + 1


def test_a_saved_student_goes_on_where_it_was(bert: Path, tmp_path: Path) -> None:
    student = make(bert, "table", document_prompt="study ", query_prompt="what ", activation="log1p_relu")
    student.save(tmp_path / "first")
    again = build_student(
        StudentRecipe(
            kind="table",
            model=str(tmp_path / "first"),
            idf=str(tmp_path / "first"),
            activation="log1p_relu",
            max_length=64,
        )
    )
    for role, texts in (("document", DOCUMENTS), ("query", QUERIES)):
        assert np.allclose(vectors(student, texts, role), vectors(again, texts, role), atol=1e-4)
    encoder = load_encoder(tmp_path / "first", device="cpu")
    assert np.allclose(encoder.encode_queries(QUERIES).toarray(), vectors(again, QUERIES, "query"), atol=1e-4)


@pytest.mark.parametrize("write", [write_roberta, write_symmetric, write_router])
def test_any_masked_language_model_is_a_start(tmp_path: Path, write) -> None:
    student = make(write(tmp_path / "model"), "symmetric", max_length=40)
    student.save(tmp_path / "saved")
    encoder = load_encoder(tmp_path / "saved", device="cpu")
    expected = vectors(student, DOCUMENTS, "document")
    assert np.allclose(encoder.encode_documents(DOCUMENTS).toarray(), expected, atol=1e-4)


def test_lower_case_asked_of_sentence_transformers_is_kept(tmp_path: Path) -> None:
    folder = write_symmetric(tmp_path / "model", module={"do_lower_case": True}, cased=True)
    student = make(folder, "symmetric")
    assert np.allclose(
        vectors(student, ["Heart Attack"], "document"), vectors(student, ["heart attack"], "document")
    )
    student.save(tmp_path / "saved")
    found = load_encoder(tmp_path / "saved", device="cpu").encode_documents(["Heart Attack"]).toarray()
    assert np.allclose(found, vectors(student, ["Heart Attack"], "document"), atol=1e-4)


def test_excluded_columns_stay_empty(tmp_path: Path) -> None:
    settings = {"own": {"excluded_terms": [5, 6, 7]}}
    student = make(write_symmetric(tmp_path / "model", settings=settings), "symmetric")
    assert not vectors(student, DOCUMENTS, "document")[:, [5, 6, 7]].any()


def test_random_weights_by_architecture(bert: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    recipe = StudentRecipe(
        kind="splade-doc", tokenizer=str(bert), architecture={"model_type": "bert", **sizes}, dropout=0.0
    )
    student = build_student(recipe)
    assert student.dimension == len(bert_vocabulary())
    student.train()
    assert np.array_equal(vectors(student, DOCUMENTS, "document"), vectors(student, DOCUMENTS, "document"))
    student.save(tmp_path / "saved")
    with pytest.raises(InputError, match="architecture 'berd'"):
        build_student(
            StudentRecipe(kind="symmetric", tokenizer=str(bert), architecture={"model_type": "berd"})
        )


def test_layers_computed_again_change_no_gradient(bert: Path) -> None:
    def gradients(again: int) -> list:
        student = build_student(StudentRecipe(model=str(bert), dropout=0.2))
        assert recompute_layers(student.model, again) == 2
        student.train()
        torch.manual_seed(3)
        student.documents(student.tokenise(DOCUMENTS)).sum().backward()
        return [p.grad for p in student.parameters()]

    plain = gradients(0)
    for again in (1, 9):
        for a, b in zip(plain, gradients(again), strict=True):
            assert (a is None and b is None) or torch.allclose(a, b, atol=1e-5)
    with pytest.raises(UnsupportedError, match="no stack"):
        recompute_layers(torch.nn.Linear(2, 2), 1)


def test_what_is_missing_is_named(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no model 'nowhere-at-all'"):
        build_student(StudentRecipe(model="nowhere-at-all"))
    with pytest.raises(InputError, match="counted on documents"):
        build_student(StudentRecipe(kind="idf", model=str(bert)))
    with pytest.raises(InputError, match="reads queries by a model"):
        build_student(StudentRecipe(kind="idf", model=str(bert), idf=str(bert)))
    with pytest.raises(InputError, match="forms softplus, relu, linear"):
        build_student(
            StudentRecipe(kind="table", model=str(bert), table="exp"),  # type: ignore[arg-type]
            documents=DOCUMENTS,
        )
    with pytest.raises(InputError, match="dropout=1"):
        build_student(StudentRecipe(model=str(bert), dropout=1.0))
