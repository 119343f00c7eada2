"""A look through a corpus before it is encoded: how much there is, can it be read, how long it takes."""

from __future__ import annotations

import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr.adding import Prepared, duplicate_error
from lsr.encoders.protocol import Encoder
from lsr.progress import Progress, duration, say

SAMPLE = 32


@dataclass(frozen=True, slots=True)
class Survey:
    """What a corpus holds.

    Attributes:
        documents: How many.
        sample: Texts of some of them, drawn evenly.
    """

    documents: int
    sample: tuple[str, ...]


def survey(
    corpus: Sequence[str], documents: Callable[[], Iterable[Prepared]], *, unique: bool
) -> Survey | None:
    """Reads a corpus once without encoding it.

    Args:
        corpus: Where it is read from.
        documents: Reads it from the beginning.
        unique: Whether an id that comes twice is an error.

    Returns:
        What it holds; None if it can be read only once (stdin, a pipe).

    Raises:
        InputError: A line that cannot be read.
        DuplicateIdError: With `unique`; it lists the ids.
    """
    if not all(Path(source).is_file() or Path(source).is_dir() for source in corpus):
        return None
    draw = random.Random(0)
    sample: list[str] = []
    hashes = array("q")
    with Progress("Checking", None, enabled=True) as progress:
        for document in documents():
            if len(sample) < SAMPLE:
                sample.append(document.text)
            elif (place := draw.randrange(len(hashes) + 1)) < SAMPLE:
                sample[place] = document.text
            hashes.append(hash(document.id))
            progress.advance()
    if unique:
        _check_unique(hashes, documents)
    return Survey(len(hashes), tuple(sample))


def _check_unique(hashes: array[int], documents: Callable[[], Iterable[Prepared]]) -> None:
    """Eight bytes an id find the suspects; only if there are any is the corpus read again for their names."""
    ordered = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.empty(0, np.int64)
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if suspects:
        counts = Counter(document.id for document in documents() if hash(document.id) in suspects)
        twice = [id for id, count in counts.items() if count > 1]
        if twice:
            raise duplicate_error(twice)


def say_estimate(
    encoder: Encoder, surveyed: Survey | None, *, there: int = 0, max_length: int | None = None
) -> None:
    """Encodes a few documents and says on stderr how long all of them will take.

    Args:
        encoder: Will encode them.
        surveyed: What there is to encode; None if nobody knows.
        there: Documents that are in the index already and need no encoding.
        max_length: As for the encoder.
    """
    if surveyed is None:
        say(f"Indexing with {encoder.name}; the input is read once, so how much there is to do is not known.")
        return
    if not surveyed.documents:
        return
    rate = measure_speed(encoder, surveyed.sample, max_length=max_length)
    left = max(surveyed.documents - there, 0)
    takes = f"about {duration(left / rate)}" if left > rate else "less than a second"
    known = f", {there:,} of them there already" if there else ""
    say(
        f"Indexing {surveyed.documents:,} documents with {encoder.name}{known}: "
        f"{takes} at {rate:,.0f} documents a second."
    )


def measure_speed(encoder: Encoder, texts: Sequence[str], *, max_length: int | None = None) -> float:
    """Documents a second of an encoder, over a few texts and after a warm-up."""
    encoder.encode_batch(texts[:1], max_length=max_length)
    started = time.perf_counter()
    encoder.encode_batch(texts, max_length=max_length)
    return len(texts) / max(time.perf_counter() - started, 1e-6)
