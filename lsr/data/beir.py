"""BEIR folders, the usual form of retrieval data sets.

A folder holds `corpus.jsonl`, `queries.jsonl` (both may end in `.gz`) and `qrels/SPLIT.tsv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lsr.data.canonical import list_names, quote
from lsr.data.corpus import read_documents
from lsr.data.qrels import Qrels, read_qrels
from lsr.data.queries import read_queries
from lsr.data.sources import beir_corpus
from lsr.errors import InputError, InputFileError
from lsr.types import Document


def find_queries(folder: Path) -> Path | None:
    """The queries file of a BEIR folder (the plain one before the `.gz`), or None if it has none."""
    for name in ("queries.jsonl", "queries.jsonl.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


@dataclass(frozen=True, slots=True)
class BeirFolder:
    """A data set on disk; nothing is read before it is asked for.

    Attributes:
        path: The folder.

    Example:
        >>> from lsr.data.demo_corpus import demo_folder
        >>> demo_folder().splits()
        ['test']
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def documents(self) -> Iterator[Document]:
        """The corpus, document by document.

        Raises:
            InputFileError: There is no such folder, or no corpus in it.
            InputError: A line is no document.
        """
        corpus = beir_corpus(self.path)
        if corpus is None:
            raise self._lacks("corpus.jsonl")
        return read_documents([corpus])

    def queries(self) -> dict[str, str]:
        """The texts of all queries by id.

        Raises:
            InputFileError: There is no such folder, or no queries in it.
            InputError: A line is no query.
        """
        found = find_queries(self.path)
        if found is None:
            raise self._lacks("queries.jsonl")
        return read_queries(found)

    def splits(self) -> list[str]:
        """The names of the splits that have judgements, sorted."""
        return sorted(self._split_files())

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of a split: grades by query id and document id.

        Raises:
            InputFileError: There is no such folder, or no judgements in it.
            InputError: There is no such split (the message lists those there are), or a line is no judgement.
        """
        files = self._split_files()
        if not files:
            raise self._lacks("qrels/test.tsv")
        if split not in files:
            raise InputError(
                f"{self.path} has no split {quote(split)}; choose one of {list_names(sorted(files))}."
            )
        return read_qrels(files[split])

    def _split_files(self) -> dict[str, Path]:
        folder = self.path / "qrels"
        found = {}
        for ending in (".tsv.gz", ".tsv"):  # the plain file wins where both are there
            for file in folder.glob(f"*{ending}"):
                if file.is_file():
                    found[file.name.removesuffix(ending)] = file
        return found

    def _lacks(self, what: str) -> InputFileError:
        if not self.path.is_dir():
            return InputFileError(f"the data set {self.path} is not there; give the path of a BEIR folder.")
        return InputFileError(
            f"the folder {self.path} has no {what}; a BEIR folder holds corpus.jsonl, queries.jsonl "
            "(each may end in .gz) and qrels/SPLIT.tsv."
        )
