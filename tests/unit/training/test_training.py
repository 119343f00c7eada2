"""The pieces of `lsr train project` that need no torch: licences, recipes, counting, fitting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from lsr.errors import InputError, InputFileError
from lsr.training.project import make_queries, open_source, short_texts
from lsr.training.recipe import ProjectRecipe, read_recipe, shipped_recipes
from lsr.training.rows import fit_rows, kept_variance, query_matrix, to_int8
from lsr.training.texts import Licences, TextSource, is_dev
from lsr.training.vocabulary import TermCounts, choose_vocabulary

TABLE = """id_prefix\tset\tlicence\tweights\tattribution
a-\tnotes (corpus)\tCC0\tyes\tus
a-bad-\tnotes (corpus)\tnone\tno\tnobody
q-\tnotes (queries)\tCC0\tyes\tus
a-\tother\tnone\tno\tnobody
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    passages = [
        {"_id": f"a-{i}", "title": f"Title {i}", "text": f"running dogs number{i} and cats"}
        for i in range(60)
    ]
    passages += [{"_id": "a-bad-1", "title": "", "text": "forbidden"}, {"_id": "z-1", "text": "uncovered"}]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, passages)), encoding="utf-8")
    queries = [{"_id": f"q-{i}", "text": f"who runs {i}"} for i in range(60)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (tmp_path / "allowed.tsv").write_text(TABLE, encoding="utf-8")
    return tmp_path


def test_the_longest_prefix_of_the_right_part_decides(data: Path) -> None:
    licences = Licences.read(data / "allowed.tsv")
    assert licences.decide("notes", "corpus", "a-1").allowed
    assert not licences.decide("notes", "corpus", "a-bad-1").allowed
    assert licences.decide("notes", "queries", "a-1") is None
    assert not licences.decide("other", "queries", "a-1").allowed


def test_refused_and_dev_text_is_left_out_and_counted(data: Path) -> None:
    source = TextSource(data, Licences.read(data / "allowed.tsv"))
    passages = list(source.passages("notes"))
    assert [p[0] for p in passages] == [f"a-{i}" for i in range(60)]
    assert all((title == "") == is_dev(identifier) for identifier, title, _ in passages)
    assert sum(source.refused.values()) == 2
    assert not any(is_dev(identifier) for identifier, _ in source.queries("notes"))
    experiment = TextSource(data, Licences.read(data / "allowed.tsv"), experiment=True)
    assert len(list(experiment.passages("notes"))) == 62


def test_without_a_table_ones_own_text_is_taken(data: Path) -> None:
    assert len(list(TextSource(data).passages("notes"))) == 62


def test_a_bad_table_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("h\ts\tl\tw\ta\nx-\tset\tCC0\tperhaps\tus\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"t\.tsv, line 2"):
        Licences.read(tmp_path / "t.tsv")
    with pytest.raises(InputFileError, match="licence table"):
        Licences.read(tmp_path / "none.tsv")


def test_short_texts_hold_no_dev_title_and_no_double(data: Path) -> None:
    recipe = ProjectRecipe(
        "m", corpora=("notes",), queries=("notes",), titles=("notes",), licences="allowed.tsv"
    )
    texts = short_texts(recipe, open_source(recipe, data))
    assert len(set(texts)) == len(texts)
    assert not {f"Title {i}" for i in range(60) if is_dev(f"a-{i}")} & set(texts)
    assert texts == short_texts(recipe, open_source(recipe, data))
    with pytest.raises(InputFileError, match="'absent'"):
        open_source(ProjectRecipe("m", corpora=("absent",)), data)


def test_the_commonest_stems_become_the_vocabulary() -> None:
    counts = TermCounts()
    counts.count(["running dogs", "he runs", "dogs run run", "a cat"])
    vocabulary = choose_vocabulary(counts, 2)
    assert vocabulary.stems == ["run", "dog"] and vocabulary.forms[1] == "dogs"
    np.testing.assert_allclose(vocabulary.shares, [0.75, 0.5])
    assert counts.documents == 4


def test_rows_solve_the_ridge_regression() -> None:
    rng = np.random.default_rng(3)
    dense = rng.random((80, 12)) * (rng.random((80, 12)) < 0.4)
    targets, prior = rng.normal(size=(80, 5)), rng.normal(size=(12, 5))
    exact = prior + np.linalg.solve(dense.T @ dense + 0.7 * np.eye(12), dense.T @ (targets - dense @ prior))
    matrix = csr_array(dense.astype(np.float32))
    rows = fit_rows(matrix, targets.astype(np.float32), prior.astype(np.float32), ridge=0.7, steps=40)
    np.testing.assert_allclose(rows, exact, atol=2e-3)
    assert kept_variance(matrix, targets.astype(np.float32), rows) > kept_variance(
        matrix, targets.astype(np.float32), prior.astype(np.float32)
    )


def test_a_row_without_evidence_stays_where_it_starts() -> None:
    matrix = csr_array(np.array([[1, 0], [1, 0]], np.float32))
    prior = np.array([[0, 0], [3, 4]], np.float32)
    rows = fit_rows(matrix, np.ones((2, 2), np.float32), prior)
    np.testing.assert_allclose(rows[1], [3, 4])


def test_query_matrix_has_unit_rows_and_each_stem_once() -> None:
    counts = TermCounts()
    counts.count(["the cat", "the dog", "the bird sings"])
    recipe = ProjectRecipe("m")
    queries = make_queries(recipe, choose_vocabulary(counts, 10), [])
    matrix = query_matrix(["the the cat", "nothing known", "dog"], queries)
    norms = np.sqrt(np.asarray((matrix * matrix).sum(axis=1)).ravel())
    np.testing.assert_allclose(norms, [1, 0, 1], atol=1e-6)
    assert matrix[[0]].nnz == 2


def test_int8_rows_lose_little() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    integers, scales = to_int8(rows)
    assert integers.dtype == np.int8
    np.testing.assert_allclose(integers * scales[:, None], rows, atol=np.abs(rows).max() / 250)


def test_recipes_are_checked(tmp_path: Path) -> None:
    assert "project" in shipped_recipes()
    recipe = read_recipe("project", ["terms=50", "lexical.k1=1.5", "licences=null"])
    assert (recipe.terms, recipe.lexical.k1, recipe.licences, recipe.name) == (50, 1.5, None, "lsr-en-1")
    for change, says in (
        ("tems=5", "unknown key 'tems'"),
        ("terms=many", "terms"),
        ("terms", "key=value"),
        ("lexical.kk=1", "unknown key 'lexical.kk'"),
    ):
        with pytest.raises(InputError, match=says):
            read_recipe("project", [change])
    (tmp_path / "r.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(InputError, match="not YAML"):
        read_recipe(str(tmp_path / "r.yaml"))
    with pytest.raises(InputFileError, match=r"one of .*\bproject\b"):
        read_recipe("porject")
