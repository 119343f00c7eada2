"""MinHash on arbitrary texts: exact where plain sets of shingles are, within its bound where it estimates."""

from __future__ import annotations

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.eval.minhash import PERMUTATIONS, jaccard, shingle, signatures
from lsr.eval.near_texts import NearTexts

WORDS = st.sampled_from([f"word{number}" for number in range(60)])
TEXTS = st.lists(WORDS, max_size=80).map(" ".join)
LENGTHS = st.integers(1, 4)

TOLERANCE = math.sqrt(math.log(2 / 1e-9) / (2 * PERMUTATIONS))
"""Hoeffding: an estimate from independent permutations is off by more once in 10^9 times."""


def tuples(text, length):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))} if words else set()


@given(TEXTS, TEXTS, LENGTHS)
def test_jaccard_is_that_of_the_sets_of_word_tuples(one, other, length):
    made = shingle([one, other], length=length)
    a, b = tuples(one, length), tuples(other, length)
    assert len(made.row(0)) == len(a)
    assert jaccard(made.row(0), made.row(1)) == (len(a & b) / len(a | b) if a | b else 0.0)


@given(TEXTS, TEXTS, LENGTHS)
def test_the_estimate_lies_within_its_bound(one, other, length):
    made = shingle([one, other], length=length)
    if one and other:
        first, second = signatures(made)
        estimate = float((first == second).mean())
        assert abs(estimate - jaccard(made.row(0), made.row(1))) <= TOLERANCE


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_read_and_equals_itself(text, before):
    made = shingle([before, text, text], length=3)
    assert made.row(1).tolist() == made.row(2).tolist() == shingle([text], length=3).row(0).tolist()
    assert (signatures(made)[1] == signatures(made)[2]).all()
    assert int(made.indptr[-1]) == len(made.hashes)


@settings(max_examples=50)
@given(st.lists(TEXTS, max_size=8), st.lists(TEXTS, max_size=8))
def test_whatever_is_found_is_near_and_equal_texts_are_found(kept, asked):
    found = {
        (i, j): similarity
        for i, j, similarity in NearTexts([shingle(kept, length=2)], threshold=0.7).find(
            shingle(asked, length=2)
        )
    }
    for (i, j), similarity in found.items():
        a, b = tuples(asked[i], 2), tuples(kept[j], 2)
        assert similarity == len(a & b) / len(a | b) >= 0.7
    for i, text in enumerate(asked):
        for j, other in enumerate(kept):
            assert not text or text != other or (i, j) in found
