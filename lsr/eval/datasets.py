"""Data sets to measure on, with what there is to say about them: counts that differ, rules that were applied.

`lsr.eval.dataset_sources` finds them: BEIR and TREC folders by path or by name in the data directory, names
of BEIR that are downloaded, `irds:ID`, `nano:NAME`. What is wrong with a data set is an error, or a rule
whose cases are counted in a note:

- A judged query that does not exist is an error: leaving it out would change every mean in silence.
- A judged query without text counts, with 0 in every measure, as nothing is found for it.
- A query whose judgements are all 0 or less counts, with 0 in every measure.
- A judgement of a document that is not in the corpus stays: the ideal ranking holds the document, and no
  system can find it. trec_eval does the same.
- Queries without judgements in the split are not searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsr.errors import InputError
from lsr.eval.dataset_sources import (
    Collection,
    data_folder,
    find_folders,
    open_collections,
    shortest_names,
)
from lsr.eval.published_counts import PublishedCounts, published_counts
from lsr.types import Document

__all__ = [
    "CorpusCheck",
    "Dataset",
    "data_folder",
    "find_dataset",
    "load_datasets",
    "shortest_names",
]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus with judged queries.

    Attributes:
        name: As it stands in a report.
        collection: Where the corpus is read from.
        split: Which judgements.
        queries: Text of every judged query, by id, in the order of `qrels`.
        qrels: Grades of the judged documents of each query.
        notes: What a reader of the report should know: counts that differ from the published ones, rules
            that were applied and to how many. What only the corpus can tell, `CorpusCheck` adds.
        published: The published counts of the data set, where they are known.
    """

    name: str
    collection: Collection
    split: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    published: PublishedCounts | None = None

    def documents(self) -> Iterator[Document]:
        """Reads the corpus, document by document."""
        return self.collection.documents()


def load_datasets(
    names: Sequence[str], *, split: str = "test", data_dir: str | Path | None = None
) -> list[Dataset]:
    """Finds the data sets and reads their queries and judgements (not yet the documents).

    Args:
        names: Folders, names of folders in the data directory, names of BEIR (downloaded into the data
            directory where they are not there), `"irds:ID"`, `"nano:NAME"`. `"cqadupstack"` is twelve.
        split: Which judgements: `qrels/SPLIT.tsv`.
        data_dir: The data directory; `LSR_DATA` says which if None.

    Returns:
        The data sets, each once, in the order given. A name is the folder's, with its parent's before it
        where two would be alike.

    Raises:
        InputFileError: There is no such folder, or a file in it is missing.
        InputError: A judged query does not exist, a file is not what it should be, there is no such split
            (the message lists those there are), or there are no names.
        MissingExtraError: The library for `irds:` or `nano:` is not installed.
    """
    if not names:
        raise InputError("There is no data set to measure on: name at least one.")
    collections = open_collections(names, data_dir=data_dir)
    return [_load(name, collection, split) for name, collection in collections.items()]


def find_dataset(name: str, *, data_dir: str | Path | None = None) -> Path:
    """The folder of a data set given by path or by name; see `load_datasets`."""
    return find_folders(name, data_dir=data_dir)[0]


class CorpusCheck:
    """Watches a corpus while it is read, for what only the whole corpus can tell.

    Args:
        dataset: The data set.

    Example:
        >>> from lsr.data.demo_corpus import demo_folder
        >>> check = CorpusCheck(load_datasets([str(demo_folder().path)])[0])
        >>> sum(1 for document in check.documents()), check.notes()
        (1078, ())
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._missing = {id for judged in dataset.qrels.values() for id in judged}
        self._documents = 0
        self._empty = 0

    def documents(self) -> Iterator[Document]:
        """Reads the corpus, document by document."""
        for document in self._dataset.documents():
            self._documents += 1
            self._missing.discard(document.id)
            self._empty += not document.text.strip()
            yield document

    def notes(self) -> tuple[str, ...]:
        """What the corpus adds to the data set's notes; once `documents` has been read to its end."""
        name, published = self._dataset.name, self._dataset.published
        notes: list[str] = []
        if published is not None and self._documents != published.documents:
            notes.append(
                f"{name}: {self._documents:,} documents, published with {published.documents:,} "
                f"({published.source})."
            )
        if self._missing:
            grades = [
                grade
                for judged in self._dataset.qrels.values()
                for id, grade in judged.items()
                if id in self._missing
            ]
            relevant = sum(grade > 0 for grade in grades)
            notes.append(
                f"{name}: {_count(len(grades), 'judgement')} of {_count(len(self._missing), 'document')} "
                f"that the corpus does not hold, {relevant:,} of them relevant; they count in the ideal "
                "ranking."
            )
        if self._empty:
            notes.append(f"{name}: {_count(self._empty, 'document')} without text; nothing finds them.")
        return tuple(notes)


def _load(name: str, collection: Collection, split: str) -> Dataset:
    qrels = collection.qrels(split)
    texts = collection.queries()
    missing = [id for id in qrels if id not in texts]
    if missing:
        listed = ", ".join(missing[:10])
        more = f" and {len(missing) - 10:,} more" if len(missing) > 10 else ""
        raise InputError(
            f"{len(missing):,} judged queries of {name} ({split}) have no text among its queries: "
            f"{listed}{more}; add them, or take their judgements out."
        )
    published = published_counts(name, split)
    queries = {id: texts[id] for id in qrels}
    notes = (*_differences(name, qrels, published), *_rules(name, queries, qrels))
    return Dataset(name, collection, split, queries, qrels, notes, published)


def _differences(
    name: str, qrels: Mapping[str, Mapping[str, int]], published: PublishedCounts | None
) -> Iterator[str]:
    """Where the counts are not the published ones."""
    if published is None:
        return
    where = f"published with {{:,}} ({published.source})"
    if len(qrels) != published.queries:
        yield f"{name}: {len(qrels):,} judged queries, {where.format(published.queries)}."
    judgements = sum(map(len, qrels.values()))
    if published.judgements is not None and judgements != published.judgements:
        yield f"{name}: {judgements:,} judgements, {where.format(published.judgements)}."


def _rules(name: str, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """The rules that had to be applied, and to how many queries."""
    blank = sum(not text.strip() for text in queries.values())
    if blank:
        yield f"{name}: {_count(blank, 'judged query')} without text; they count with 0 in every measure."
    hopeless = sum(all(grade <= 0 for grade in judged.values()) for judged in qrels.values())
    if hopeless:
        yield (
            f"{name}: {_count(hopeless, 'judged query')} without a relevant document; "
            "they count with 0 in every measure."
        )


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"
