"""Queries by a table: weights of distinct tokens, kept whole in an index, equal to sentence-transformers'."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import (
    TEXTS,
    bert_vocabulary,
    random_table,
    write_bare,
    write_idf,
    write_router,
    write_symmetric,
)

from lsr.encoders.container import pack, unpack
from lsr.encoders.queries import load_query_side
from lsr.encoders.sparse_folder import read_sparse_folder
from lsr.encoders.table_queries import TableQueries, table_queries_of
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError


def router(path: Path, **options: Any) -> TableQueries:
    return table_queries_of(read_sparse_folder(write_router(path, make=write_bare, **options)))


def named(queries: TableQueries, text: str) -> dict[str, float]:
    columns, weights = queries.weigh(text)
    assert columns.dtype == np.int32 and weights.dtype == np.float32
    assert (np.diff(columns) > 0).all() and (weights > 0).all()
    return {queries.term(int(c)): round(float(w), 4) for c, w in zip(columns, weights, strict=True)}


def table(**weights: float) -> list[float]:
    return [weights.get(token, 0.0) for token in bert_vocabulary()]


def test_each_distinct_token_counts_once_with_its_weight(tmp_path: Path) -> None:
    queries = router(tmp_path, weights=table(vaccines=7.5, the=0.25, train=4.0))
    assert named(queries, "The vaccines train the VACCINES, the system") == {
        "the": 0.25,
        "train": 4.0,
        "vaccines": 7.5,
    }
    assert named(queries, "system [CLS]") == {} and named(queries, "") == {} and named(queries, " \n") == {}


def test_no_special_tokens_and_the_folder_s_limit(tmp_path: Path) -> None:
    weights = [1.0] * len(bert_vocabulary())
    queries = router(tmp_path, weights=weights, query_limit=3)
    assert named(queries, "vaccines train the system") == {"the": 1.0, "train": 1.0, "vaccines": 1.0}
    assert queries.max_length == 3


def test_prompt_and_largest_weights(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "search query "}, "max_active_dims": 2}
    weights = table(search=9.0, query=1.0, vaccines=7.5, the=1.0)
    queries = router(tmp_path, weights=weights, settings=settings)
    assert named(queries, "the vaccines") == {"search": 9.0, "vaccines": 7.5}
    assert named(queries, "the") == {"search": 9.0, "the": 1.0}  # of equal weights the lower column stays
    assert [queries.term(int(c)) for c in queries.columns_of("the vaccines the")] == ["the", "vaccines"]


def test_weights_below_zero_count_as_zero_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queries = router(tmp_path, weights=table(vaccines=7.5, the=-2.0))
    assert named(queries, "the vaccines") == {"vaccines": 7.5}
    assert "1 query weights" in caplog.text


def test_tokens_without_a_column(tmp_path: Path) -> None:
    write_bare(tmp_path)
    tokeniser = Tokeniser(tmp_path, 64)
    queries = TableQueries(tokeniser, np.ones(8, np.float32))
    assert queries.weigh("the of vaccine system")[0].tolist() == [5, 6]
    assert queries.dimension == 8 and len(queries.vocabulary) == 8
    longer = TableQueries(tokeniser, np.ones(len(bert_vocabulary()) + 2, np.float32))
    assert longer.vocabulary[-2:] == [f"[id:{len(bert_vocabulary())}]", f"[id:{len(bert_vocabulary()) + 1}]"]


def test_names_of_columns(tmp_path: Path) -> None:
    queries = router(tmp_path)
    assert queries.vocabulary == bert_vocabulary()
    column = queries.column("vaccines")
    assert column == bert_vocabulary().index("vaccines") and queries.term(column) == "vaccines"
    assert queries.column("no such token") is None
    with pytest.raises(IndexError, match="outside"):
        queries.term(queries.dimension)


def test_an_index_keeps_the_whole_side(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "search "}, "max_active_dims": 4}
    queries = router(tmp_path, settings=settings, query_limit=9)
    kept = load_query_side(queries.to_bytes())
    assert isinstance(kept, TableQueries)
    assert kept.fingerprint == queries.fingerprint and kept.vocabulary == queries.vocabulary
    assert kept.to_bytes() == queries.to_bytes()
    for mine, theirs in zip(kept.weigh_many(TEXTS), queries.weigh_many(TEXTS), strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])


@pytest.mark.parametrize("change", ["max_length", "prompt", "side", "fingerprint", "max_active_dims"])
def test_a_damaged_side_is_refused(tmp_path: Path, change: str) -> None:
    header, sections = unpack(router(tmp_path).to_bytes())
    del header[change]
    with pytest.raises(InputError, match="damaged"):
        load_query_side(pack(header, sections))
    for section in sections:
        with pytest.raises(InputError):
            load_query_side(pack(unpack(router(tmp_path).to_bytes())[0], {**sections, section: b"x"}))


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="by a model"):
        table_queries_of(read_sparse_folder(write_symmetric(tmp_path, make=write_bare)))


def test_a_table_is_one_row_of_finite_weights(tmp_path: Path) -> None:
    tokeniser = Tokeniser(write_bare(tmp_path), 64)
    for weights in (np.ones((2, 3)), np.array([1.0, np.inf])):
        with pytest.raises(InputError, match="finite"):
            TableQueries(tokeniser, weights.astype(np.float32))


def test_a_query_imports_nothing_heavy(tmp_path: Path) -> None:
    side = tmp_path / "side"
    side.write_bytes(router(tmp_path / "model").to_bytes())
    code = (
        "import sys; from pathlib import Path; from lsr.encoders.queries import load_query_side; "
        f"found = load_query_side(Path({str(side)!r}).read_bytes()).weigh('how do vaccines work'); "
        "heavy = ('torch', 'transformers', 'scipy', 'onnxruntime', 'safetensors'); "
        "print(len(found[0]), [m for m in heavy if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=1)[1].strip() == "[]" and int(run.stdout.split()[0]) > 0


def dense(queries: TableQueries, texts: tuple[str, ...]) -> np.ndarray:
    rows = np.zeros((len(texts), queries.dimension), np.float32)
    for row, text in zip(rows, texts, strict=True):
        columns, weights = queries.weigh(text)
        row[columns] = weights
    return rows


# Without special tokens the empty text has no ids at all, which sentence-transformers cannot encode alone.
LONG = (*TEXTS, "the vaccine " * 90)


@pytest.mark.torch
@pytest.mark.parametrize("names", ["old", "new"])
@pytest.mark.parametrize("idf", [False, True])
def test_as_the_static_embedding_of_sentence_transformers(tmp_path: Path, names: str, idf: bool) -> None:
    from sentence_transformers import SparseEncoder

    settings = {"prompts": {"query": "search query "}}
    path = write_router(tmp_path, make=write_bare, names=names, query_limit=11, settings=settings)
    queries = table_queries_of(read_sparse_folder(path))
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    folder = path / "query_0_SparseStaticEmbedding"
    if idf:
        other = write_idf(tmp_path / "idf", make=write_bare)
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        module = SparseStaticEmbedding.from_json(str(other / "idf.json"), tokenizer=tokenizer)
    else:
        module = SparseStaticEmbedding.load(str(folder))
    theirs = SparseEncoder(modules=[module], device="cpu", prompts=settings["prompts"])
    wanted = theirs.encode_query(list(LONG)).to_dense().numpy()
    np.testing.assert_allclose(dense(queries, LONG), wanted, atol=1e-6, rtol=0)
    assert wanted.any(axis=1).all()


@pytest.mark.torch
def test_an_idf_folder_as_in_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    weights = {
        **dict(zip(bert_vocabulary(), random_table(), strict=True)),
        "never seen": 2.5,
        "nor this": 3.5,
    }
    path = write_idf(tmp_path, make=write_bare, weights=weights, limit=16)
    tokenizer = AutoTokenizer.from_pretrained(str(path))
    module = SparseStaticEmbedding.from_json(str(path / "idf.json"), tokenizer=tokenizer)
    wanted = SparseEncoder(modules=[module], device="cpu").encode_query(list(LONG)).to_dense().numpy()
    mine = dense(table_queries_of(read_sparse_folder(path)), LONG)
    np.testing.assert_allclose(mine, wanted, atol=1e-6, rtol=0)
