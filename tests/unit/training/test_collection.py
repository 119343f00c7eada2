"""Collections: what is read, what is held out, and that both stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lsr.errors import InputError, InputFileError
from lsr.training.collection import open_data, read_collection
from lsr.training.recipe_data import DataRecipe, DevRecipe
from lsr.training.texts import is_dev

TEXT = "Dogs number {0} run far away. They like to eat {0} bones a day! Is it true that cat {0} sleeps long?"
RECIPE = DataRecipe(corpora=("notes",), queries=("notes",), titles=("notes",), sentences=("notes",))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "qrels").mkdir(parents=True)
    passages = [{"_id": f"a{i}", "title": f"Title {i}", "text": TEXT.format(i)} for i in range(100)]
    queries = [{"_id": f"q{i}", "text": f"who runs {i}"} for i in range(100)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, passages)), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    rows = [f"q{i}\ta{i}\t1" for i in range(0, 100, 2)] + ["q1\ta3\t0"]
    (folder / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "\n".join(rows), encoding="utf-8"
    )
    return tmp_path


def test_queries_titles_and_sentences_find_their_passages(data: Path) -> None:
    collection = read_collection(RECIPE, open_data(RECIPE, data))
    assert len(collection.documents) == 100 and collection.document_ids[7] == "a7"
    assert len(set(collection.queries)) == len(collection.queries) == len(collection.query_ids)
    found = {collection.queries[q]: collection.documents[d] for q, d in collection.positives}
    assert found["Title 3"] == f"Title 3 {TEXT.format(3)}" and "who runs 1" not in found
    train = next(i for i in range(0, 100, 2) if not is_dev(f"q{i}"))
    assert found[f"who runs {train}"].endswith(TEXT.format(train))
    sentences = [q for q in collection.queries if q[-1] in ".!?"]
    assert len(sentences) == sum(not is_dev(f"a{i}") for i in range(100))
    assert all(sentence in found[sentence] for sentence in sentences)
    rows = collection.positives_of()
    assert len(rows) == len(collection.queries)
    assert [int(d) for row in rows for d in row] == collection.positives[:, 1].tolist()


def test_the_dev_part_is_never_trained_on(data: Path) -> None:
    collection = read_collection(RECIPE, open_data(RECIPE, data), DevRecipe(queries=50, documents=20))
    dev = collection.dev
    expected = {f"Title {i}" for i in range(100) if is_dev(f"a{i}")}
    expected |= {f"who runs {i}" for i in range(0, 100, 2) if is_dev(f"q{i}")}
    assert dev is not None and set(dev.queries) == expected and expected
    assert not expected & set(collection.queries)
    assert len(dev.documents) == 20 and set(dev.positives[:, 1]) <= set(dev.documents)
    for query, document in dev.positives:  # a dev title is not in its own passage
        assert dev.queries[query] not in collection.documents[document]


def test_bounds_keep_what_has_a_positive_and_the_choice_repeats(data: Path) -> None:
    recipe = DataRecipe(corpora=("notes",), titles=("notes",), most_queries=10, documents=15, seed=4)
    first, second = (read_collection(recipe, open_data(recipe, data)) for _ in range(2))
    assert (len(first.documents), len(first.queries), len(first.positives)) == (15, 10, 10)
    assert first.documents == second.documents and first.queries == second.queries
    np.testing.assert_array_equal(first.positives, second.positives)


def test_what_is_missing_is_said_before_anything_is_read(data: Path) -> None:
    for recipe, says in (
        (DataRecipe(), "no documents"),
        (DataRecipe(corpora=("absent",)), "'absent'"),
        (DataRecipe(corpora=("notes",), titles=("others",)), "'others' is not one"),
        (DataRecipe(corpora=("notes",), licences="none.tsv"), "licence table"),
    ):
        with pytest.raises((InputError, InputFileError), match=says):
            open_data(recipe, data)
    with pytest.raises(InputError, match="No query is left"):
        recipe = DataRecipe(corpora=("notes",))
        read_collection(recipe, open_data(recipe, data))
