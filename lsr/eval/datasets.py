"""Data sets to measure on: BEIR folders, found by path or by name.

A data set is a folder with `corpus.jsonl`, `queries.jsonl` (each may end in `.gz`) and
`qrels/SPLIT.tsv`. A name is a folder of that name in the data directory: the one given, else the one
that the environment variable `LSR_DATA` names. Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsr.data.beir import BeirFolder
from lsr.errors import InputError, InputFileError
from lsr.eval.published_counts import PublishedCounts
from lsr.types import Document

DATA_VARIABLE = "LSR_DATA"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus with judged queries.

    Attributes:
        name: As it stands in a report.
        folder: Where the corpus is read from.
        split: Which judgements.
        queries: Text of every judged query, by id, in the order of `qrels`.
        qrels: Grades of the judged documents of each query.
        notes: What a reader of the report should know: counts that differ from the published ones, rules
            that were applied and to how many.
        published: The published counts of the data set, where they are known.
    """

    name: str
    folder: BeirFolder
    split: str
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    published: PublishedCounts | None = None

    def documents(self) -> Iterator[Document]:
        """Reads the corpus, document by document."""
        return self.folder.documents()


def load_datasets(
    names: Sequence[str], *, split: str = "test", data_dir: str | Path | None = None
) -> list[Dataset]:
    """Finds the data sets and reads their queries and judgements (not yet the documents).

    Args:
        names: Folders, or names of folders in the data directory.
        split: Which judgements: `qrels/SPLIT.tsv`.
        data_dir: The data directory; `LSR_DATA` says which if None.

    Returns:
        The data sets, each once, in the order given. A name is the folder's, with its parent's before it
        where two would be alike.

    Raises:
        InputFileError: There is no such folder, or a file in it is missing.
        InputError: A judged query has no text, a file is not what it should be, or there are no names.
    """
    if not names:
        raise InputError("There is no data set to measure on: name at least one.")
    paths = list(dict.fromkeys(find_dataset(name, data_dir=data_dir).resolve() for name in names))
    return [_load(label, path, split) for label, path in zip(shortest_names(paths), paths, strict=True)]


def find_dataset(name: str, *, data_dir: str | Path | None = None) -> Path:
    """The folder of a data set given by path or by name; see `load_datasets`."""
    if _holds_corpus(Path(name)):
        return Path(name)
    chosen = data_folder(data_dir)
    if chosen is None:
        raise InputFileError(
            f"There is no data set {name!r}: give a folder (corpus.jsonl, queries.jsonl, qrels/test.tsv) "
            f"or say with --data-dir or {DATA_VARIABLE} which folder holds one called {name!r}."
        )
    folder = chosen / name
    if not _holds_corpus(folder):
        raise InputFileError(
            f"There is no data set {name!r}: expected the folder {folder} with corpus.jsonl, queries.jsonl "
            "(or .gz of them) and qrels/test.tsv, as a BEIR archive unpacks."
        )
    return folder


def data_folder(data_dir: str | Path | None) -> Path | None:
    """The data directory: the one given, else the one that `LSR_DATA` names, else None."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(chosen) if chosen else None


def _holds_corpus(folder: Path) -> bool:
    return any((folder / file).is_file() for file in ("corpus.jsonl", "corpus.jsonl.gz"))


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths (one part, then two, ...) that tell them apart."""
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(part for part in path.parts[-depth:] if part != path.anchor) for path in paths]


def _load(name: str, path: Path, split: str) -> Dataset:
    folder = BeirFolder(path)
    qrels = folder.qrels(split)
    if not qrels:
        raise InputError(f"The judgements {split!r} of {path} are empty: choose another --split.")
    texts = folder.queries()
    missing = [id for id in qrels if id not in texts]
    if missing:
        listed = ", ".join(missing[:10])
        raise InputError(
            f"{len(missing)} judged queries of {path} ({split}) have no text in queries.jsonl: {listed}."
        )
    return Dataset(name, folder, split, {id: texts[id] for id in qrels}, qrels)
