"""The text of a training run: documents, queries, positives, and a dev part that is never trained on.

Documents are the passages of BEIR folders. Queries are real ones, titles, or sentences; a title or a
sentence is a query whose positive is its own passage. What the licence table refuses is left out and
counted (`lsr.training.texts`). The dev part of a set is every query, and every title used as one, whose
sha256(id) mod 20 is 0. Teachers, the miner of negatives and the trainer all work on numbers into the two
lists that a `Collection` holds.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.data.beir import BeirFolder, find_queries
from lsr.errors import InputError, InputFileError
from lsr.training.recipe_data import DataRecipe, DevRecipe
from lsr.training.texts import Licences, TextSource, is_dev

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_SHORTEST, _LONGEST = 4, 40  # words of a sentence that serves as a query


@dataclass(frozen=True)
class Dev:
    """Held-out queries.

    Attributes:
        queries: d texts.
        positives: int64 [P, 2], number of a query in `queries` and of a document in the collection.
        documents: int64 [n] ascending, the documents that they are searched in.
    """

    queries: list[str]
    positives: NDArray[np.int64]
    documents: NDArray[np.int64]


@dataclass(frozen=True)
class Collection:
    """What a student is trained on.

    Attributes:
        documents: N texts.
        queries: Q texts, all different.
        positives: int64 [P, 2], number of a query and number of a document, sorted, all different.
        dev: Held-out queries with positives, or None. Never trained on.
        document_ids: N ids, as their folder has them; `folder/id` where two folders have the same one.
        query_ids: Q ids; that of the passage for a title, with `#n` behind it for its nth sentence.
    """

    documents: list[str]
    queries: list[str]
    positives: NDArray[np.int64]
    dev: Dev | None = None
    document_ids: list[str] = field(default_factory=list)
    query_ids: list[str] = field(default_factory=list)

    def positives_of(self) -> list[NDArray[np.int64]]:
        """For each query the numbers of its positive documents: a list of Q arrays int64 [p]."""
        counts = np.bincount(self.positives[:, 0], minlength=len(self.queries))
        return np.split(self.positives[:, 1], np.cumsum(counts)[:-1]) if len(counts) else []


@dataclass(frozen=True)
class Candidates:
    """The documents that each query is trained on, with the teachers' scores.

    Attributes:
        documents: int64 [Q, C], numbers into `Collection.documents`, -1 for none.
        scores: float32 [Q, C], scores of the ensemble, scaled; nan for missing ones.
        positive: bool [Q, C], whether the document is judged (or known) to be relevant.
    """

    documents: NDArray[np.int64]
    scores: NDArray[np.float32]
    positive: NDArray[np.bool_]


@dataclass
class _Gathered:
    """What one pass over the folders finds."""

    documents: list[str] = field(default_factory=list)
    document_ids: list[str] = field(default_factory=list)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)  # text to id
    pairs: list[tuple[str, int]] = field(default_factory=list)  # text of a query, number of a document
    dev: dict[str, set[int]] = field(default_factory=dict)


def open_data(recipe: DataRecipe, data_dir: Path) -> TextSource:
    """The recipe's text with its licence table, after a look at whether all folders are there.

    Raises:
        InputFileError: A folder, a corpus, a query file or the licence table is not there.
        InputError: No corpus is named, or titles or sentences of a folder that is not among the corpora.
    """
    if not recipe.corpora:
        raise InputError("The recipe names no documents; give BEIR folders with data.corpora.")
    for name in (*recipe.corpora, *recipe.queries):
        if not (data_dir / name).is_dir():
            raise InputFileError(
                f"The recipe needs the data set {name!r}, and {data_dir / name} is not there; name the "
                "folder of the data sets with --data-dir or LSR_DATA."
            )
    for name in recipe.queries:
        if find_queries(data_dir / name) is None:
            raise InputFileError(f"data.queries names {name!r}, and {data_dir / name} has no queries.jsonl.")
    for name in (*recipe.titles, *recipe.sentences):
        if name not in recipe.corpora:
            raise InputError(
                f"data.titles and data.sentences take folders of data.corpora; {name!r} is not one of them."
            )
    licences = Licences.read(data_dir / recipe.licences) if recipe.licences else None
    return TextSource(data_dir, licences, recipe.experiment)


def read_collection(
    recipe: DataRecipe, source: TextSource, dev: DevRecipe | None = None, *, queries: bool = True
) -> Collection:
    """Read documents and queries, and set the dev part aside.

    Args:
        recipe: What to read.
        source: From `open_data`; counts what is used and what is refused.
        dev: How much is held out; None or `queries: 0` for nothing. Dev queries are never trained on
            either way.
        queries: Whether there must be a query.

    Returns:
        The collection, the same for the same recipe and data.

    Raises:
        InputError: No document or no query is left.
    """
    found = _Gathered()
    for folder in recipe.corpora:
        _read_corpus(found, recipe, source, folder)
    for folder in recipe.queries:
        _read_queries(found, recipe, source, folder)
    for text in found.dev:  # a text that is a dev query under one id may be a training query under another
        found.queries.pop(text, None)
    if not found.documents or (queries and not found.queries):
        what = "document" if not found.documents else "query"
        raise InputError(f"No {what} is left to train on; look at the recipe's data and its licence table.")
    return _number(found, recipe, dev or DevRecipe(queries=0))


def _read_corpus(found: _Gathered, recipe: DataRecipe, source: TextSource, folder: str) -> None:
    titles, sentences = folder in recipe.titles, folder in recipe.sentences
    dev_titles: dict[str, set[str]] = {}
    if titles:
        for title, identifier in _dev_titles(source, folder):
            dev_titles.setdefault(title, set()).add(identifier)
    for identifier, title, text in source.passages(folder):
        number = len(found.documents)
        found.numbers[folder, identifier] = number
        found.documents.append(f"{title} {text}" if title and recipe.keep_titles else text)
        found.document_ids.append(identifier)
        if titles and title and title not in dev_titles:
            found.queries.setdefault(title, identifier)
            found.pairs.append((title, number))
        if sentences and not is_dev(identifier):
            for place, sentence in enumerate(_sentences(text, identifier, recipe)):
                found.queries.setdefault(sentence, f"{identifier}#{place}")
                found.pairs.append((sentence, number))
    for title, identifiers in dev_titles.items():
        numbers = {found.numbers[folder, i] for i in identifiers if (folder, i) in found.numbers}
        if numbers:
            found.dev.setdefault(title, set()).update(numbers)


def _dev_titles(source: TextSource, folder: str) -> Iterator[tuple[str, str]]:
    for document in BeirFolder(source.data_dir / folder).documents():
        title = str(document.fields.get("title") or "")
        if title and is_dev(document.id):
            yield title, document.id


def _sentences(text: str, identifier: str, recipe: DataRecipe) -> list[str]:
    """Sentences of a passage that may serve as queries; which ones depends on its id and the seed alone."""
    fit = [s.strip() for s in _SENTENCE.split(text) if _SHORTEST <= len(s.split()) <= _LONGEST]
    if len(fit) <= recipe.sentences_each:
        return fit
    key = hashlib.sha256(f"{recipe.seed} {identifier}".encode()).digest()
    return random.Random(int.from_bytes(key[:8], "big")).sample(fit, recipe.sentences_each)


def _read_queries(found: _Gathered, recipe: DataRecipe, source: TextSource, folder: str) -> None:
    beir = BeirFolder(source.data_dir / folder)
    judged = beir.qrels(recipe.split) if recipe.split in beir.splits() else {}

    def positives(identifier: str) -> list[int]:
        grades = judged.get(identifier, {})
        keys = [(folder, document) for document, grade in grades.items() if grade > 0]
        return [found.numbers[key] for key in keys if key in found.numbers]

    for identifier, text in source.queries(folder):
        found.queries.setdefault(text, identifier)
        found.pairs += [(text, number) for number in positives(identifier)]
    for identifier, text in beir.queries().items():
        if is_dev(identifier) and (numbers := positives(identifier)):
            found.dev.setdefault(text, set()).update(numbers)


def _number(found: _Gathered, recipe: DataRecipe, dev: DevRecipe) -> Collection:
    rng = random.Random(recipe.seed)
    chosen = list(found.queries)
    if recipe.most_queries and len(chosen) > recipe.most_queries:
        chosen = sorted(rng.sample(chosen, recipe.most_queries))
    number_of = {text: i for i, text in enumerate(chosen)}
    held_out = sorted(found.dev)
    held_out = sorted(rng.sample(held_out, dev.queries)) if len(held_out) > dev.queries else held_out
    pairs = {(number_of[text], document) for text, document in found.pairs if text in number_of}
    needed = {document for _, document in pairs} | {n for text in held_out for n in found.dev[text]}
    kept = _choose(len(found.documents), needed, recipe.documents, rng)
    place = {old: new for new, old in enumerate(kept)}
    positives = sorted((query, place[d]) for query, d in pairs if d in place)
    ids = [found.document_ids[i] for i in kept]
    return Collection(
        [found.documents[i] for i in kept],
        chosen,
        np.array(positives, np.int64).reshape(-1, 2),
        _hold_out(found, held_out, place, dev, rng),
        _distinct(ids, [folder for folder, _ in found.numbers], kept),
        [found.queries[text] for text in chosen],
    )


def _hold_out(
    found: _Gathered, texts: list[str], place: dict[int, int], dev: DevRecipe, rng: random.Random
) -> Dev | None:
    rows = [[place[n] for n in sorted(found.dev[text]) if n in place] for text in texts]
    kept = [i for i, row in enumerate(rows) if row]
    if not kept:
        return None
    positives = [(new, document) for new, i in enumerate(kept) for document in rows[i]]
    searched = _choose(len(place), {document for _, document in positives}, dev.documents, rng)
    return Dev([texts[i] for i in kept], np.array(positives, np.int64), np.array(searched, np.int64))


def _choose(count: int, needed: set[int], most: int, rng: random.Random) -> list[int]:
    """Numbers below `count`, ascending: all, or `most` of them, those that are needed first."""
    if not most or count <= most:
        return list(range(count))
    wanted = sorted(needed)
    if len(wanted) >= most:
        return sorted(rng.sample(wanted, most))
    others = [i for i in range(count) if i not in needed]
    return sorted(wanted + rng.sample(others, most - len(wanted)))


def _distinct(ids: list[str], folders: list[str], kept: list[int]) -> list[str]:
    """Ids that two folders share get the folder's name in front."""
    seen: dict[str, int] = {}
    for identifier in ids:
        seen[identifier] = seen.get(identifier, 0) + 1
    return [
        identifier if seen[identifier] == 1 else f"{folders[kept[i]]}/{identifier}"
        for i, identifier in enumerate(ids)
    ]
