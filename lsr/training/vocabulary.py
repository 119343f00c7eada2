"""Counting stems: the vocabulary of a model and its table of document frequencies.

One pass over the allowed passages gives, for each stem, the number of passages that hold it and its most
frequent form; the commonest stems become the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.analysis import Stemmer, words


@dataclass
class TermCounts:
    """Counts over a stream of texts.

    Attributes:
        documents: Texts counted.
        frequencies: Texts that hold each word form.
        length: Words in all texts together.
    """

    documents: int = 0
    frequencies: Counter[str] = field(default_factory=Counter)
    stem_frequencies: Counter[str] = field(default_factory=Counter)
    length: int = 0

    def count(self, texts: Iterable[str]) -> None:
        """Add texts to the counts."""
        stemmer = Stemmer()
        for text in texts:
            found = words(text)
            forms = set(found)
            self.documents += 1
            self.length += len(found)
            self.frequencies.update(forms)
            self.stem_frequencies.update(set(stemmer.stems(list(forms))))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The stems of a model.

    Attributes:
        stems: Most frequent first; ties in alphabetical order.
        forms: The most frequent form of each stem.
        shares: float32 [n], the share of texts that hold each stem.
        documents: Texts counted.
    """

    stems: list[str]
    forms: list[str]
    shares: NDArray[np.float32]
    documents: int


def choose_vocabulary(counts: TermCounts, size: int) -> Vocabulary:
    """The `size` stems that most texts hold.

    Args:
        counts: What `TermCounts.count` has seen.
        size: Upper bound of the number of stems.
    """
    ranked = sorted(counts.stem_frequencies.items(), key=lambda item: (-item[1], item[0]))[:size]
    stems = [stem for stem, _ in ranked]
    best: dict[str, tuple[int, str]] = {}
    forms = sorted(counts.frequencies)
    for form, stem in zip(forms, Stemmer().stems(forms), strict=True):
        candidate = (counts.frequencies[form], form)
        if stem not in best or candidate[0] > best[stem][0]:
            best[stem] = candidate
    shares = np.array([count for _, count in ranked], np.float32) / np.float32(max(counts.documents, 1))
    return Vocabulary(stems, [best[stem][1] for stem in stems], shares, counts.documents)
