"""Shards of teachers: whole or absent, found again by content."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.training.teachers.cache import PairScores, hash_texts, keep_arrays, read_arrays, shards, text_numbers


def test_a_damaged_shard_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path))
    made: list[list[str]] = []

    def compute(texts: list[str]) -> dict[str, np.ndarray]:
        made.append(texts)
        return {"lengths": np.array([len(text) for text in texts])}

    def run(texts: list[str], head: str = "h") -> list[int]:
        found = shards("kind", head, texts, compute, block=2, label="")
        return [int(n) for part in found for n in part["lengths"]]

    assert run(["a", "bb", "ccc"]) == [1, 2, 3] and len(made) == 2
    assert run(["a", "bb", "ccc"]) == [1, 2, 3] and len(made) == 2
    file = tmp_path / "teachers" / "kind" / f"{hash_texts('h', ['a', 'bb'])}.npz"
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * len(whole)):
        file.write_bytes(damaged)
        made.clear()
        assert run(["a", "bb", "ccc"]) == [1, 2, 3] and made == [["a", "bb"]]
    made.clear()
    assert run(["a", "bb"], head="other") == [1, 2] and made == [["a", "bb"]]


def test_arrays_come_back(tmp_path: Path) -> None:
    keep_arrays(tmp_path / "a.npz", {"x": np.arange(3), "y": np.zeros((2, 0), np.float32)})
    back = read_arrays(tmp_path / "a.npz")
    assert back is not None and list(back) == ["x", "y"] and back["y"].shape == (2, 0)
    assert read_arrays(tmp_path / "none.npz") is None


def test_the_order_and_the_borders_of_texts_count() -> None:
    keys = [hash_texts("h", texts) for texts in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab", "c", ""])]
    assert len({*keys, hash_texts("i", ["ab", "c"])}) == 5
    assert len(hash_texts("h", ["\ud800"])) == 40  # half a character is no reason to end


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6), max_size=4))
def test_pair_scores_are_a_dictionary_that_survives(rounds: list[list[tuple[int, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_pairs(Path(folder), rounds)


def _check_pairs(folder: Path, rounds: list[list[tuple[int, int]]]) -> None:
    numbers = text_numbers(["a", "b", "c", "d"])
    scores, expected = PairScores(folder), dict[tuple[int, int], float]()
    for pairs in rounds:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in expected]
        for query, document in new:
            expected[query, document] = float(10 * query + document)
        rows, columns = np.array(new, np.int64).reshape(-1, 2).T
        values = np.array([expected[pair] for pair in new], np.float32)
        scores.add(numbers[rows], numbers[columns], values)
    queries, documents = (axis.ravel() for axis in np.mgrid[0:4, 0:4])
    wanted = [expected.get((q, d), np.nan) for q, d in zip(queries, documents, strict=True)]
    for reader in (scores, PairScores(folder)):
        assert len(reader) == len(expected)
        np.testing.assert_array_equal(reader.find(numbers[queries], numbers[documents]), wanted)
