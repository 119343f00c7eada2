"""Where data sets come from: folders on disk, names of BEIR, ids of ir_datasets, names of NanoBEIR.

A name becomes a `Collection`, which reads nothing before it is asked. Folders are BEIR's or TREC collections;
`irds:ID` is an id of [ir_datasets](https://ir-datasets.com); `nano:NAME` is one of the thirteen NanoBEIR
sets, read through the library `datasets`; any other name is a folder in the data directory, downloaded if it
is one of BEIR's. Libraries are imported when a name asks for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from lsr.data.beir import BeirFolder
from lsr.data.canonical import list_names, quote
from lsr.data.qrels import Qrels
from lsr.data.trec_collection import TrecCollection, is_trec_collection
from lsr.errors import DISTRIBUTION, InputError, InputFileError, LsrError, MissingExtraError
from lsr.eval.beir_download import ARCHIVES, LAYOUT, ON_REQUEST, beir_fetch, download
from lsr.types import Document

DATA_VARIABLE = "LSR_DATA"
IRDS = "irds:"
NANO = "nano:"

_PARTED = "cqadupstack"
"""The data set of BEIR that is twelve, each in a folder of its own."""

NANO_SETS = {
    "arguana": "NanoArguAna",
    "climate-fever": "NanoClimateFEVER",
    "dbpedia-entity": "NanoDBPedia",
    "fever": "NanoFEVER",
    "fiqa": "NanoFiQA2018",
    "hotpotqa": "NanoHotpotQA",
    "msmarco": "NanoMSMARCO",
    "nfcorpus": "NanoNFCorpus",
    "nq": "NanoNQ",
    "quora": "NanoQuoraRetrieval",
    "scidocs": "NanoSCIDOCS",
    "scifact": "NanoSciFact",
    "webis-touche2020": "NanoTouche2020",
}
"""The NanoBEIR sets by the names of BEIR."""


class Collection(Protocol):
    """A corpus with queries and judgements."""

    def documents(self) -> Iterator[Document]:
        """The corpus, document by document."""

    def queries(self) -> dict[str, str]:
        """The texts of all queries by id."""

    def splits(self) -> list[str]:
        """The names of the splits that have judgements."""

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of a split."""


def open_collections(names: Sequence[str], *, data_dir: str | Path | None) -> dict[str, Collection]:
    """The collections behind the names, each once, under the names that a report gives them.

    Raises:
        InputFileError: A name that is nothing, with the folder that was expected.
        InputError: A name that cannot be.
        MissingExtraError: A library is not installed.
    """
    given: list[str | Path] = []
    for name in names:
        if name.startswith((IRDS, NANO)):
            given.append(name)
        else:
            given += [path.resolve() for path in find_folders(name, data_dir=data_dir)]
    paths = [path for path in dict.fromkeys(given) if isinstance(path, Path)]
    labels = dict(zip(paths, shortest_names(paths), strict=True))
    return {(each if isinstance(each, str) else labels[each]): _open(each) for each in dict.fromkeys(given)}


def find_folders(name: str, *, data_dir: str | Path | None) -> list[Path]:
    """The folders of a data set given by path or by name: one, but for CQADupStack's twelve parts.

    A name of BEIR that is not in the data directory is downloaded into it.

    Raises:
        InputFileError: There is no such folder and it cannot be downloaded.
    """
    if holds_data(Path(name)) or _parts(Path(name)):
        return _parts(Path(name)) or [Path(name)]
    chosen = data_folder(data_dir)
    if chosen is None:
        raise InputFileError(
            f"There is no data set {name!r}: give a folder (corpus.jsonl, queries.jsonl, qrels/test.tsv) "
            f"or say with --data-dir or {DATA_VARIABLE} which folder holds one called {name!r}."
        )
    folder = chosen / name
    if not holds_data(folder) and not _parts(folder):
        _download(name, chosen)
    return _parts(folder) or [folder]


def data_folder(data_dir: str | Path | None) -> Path | None:
    """The data directory: the one given, else the one that `LSR_DATA` names, else None."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE)
    return Path(chosen) if chosen else None


def holds_data(folder: Path) -> bool:
    """Whether a folder is a data set: BEIR's, by its corpus, or a TREC collection."""
    beir = any((folder / file).is_file() for file in ("corpus.jsonl", "corpus.jsonl.gz"))
    return beir or is_trec_collection(folder)


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths (one part, then two, ...) that tell them apart.

    Example:
        >>> shortest_names([Path("/a/x"), Path("/b/x")])
        ['a/x', 'b/x']
    """
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    names = []
    for path in paths:
        own = max(depth, 2) if path.parent.name == _PARTED else depth
        names.append("/".join(part for part in path.parts[-own:] if part != path.anchor))
    return names


def _open(given: str | Path) -> Collection:
    if isinstance(given, Path):
        return TrecCollection(given) if is_trec_collection(given) else BeirFolder(given)
    if given.startswith(IRDS):
        return IrDataset(given.removeprefix(IRDS))
    return NanoSet.named(given.removeprefix(NANO))


def _parts(folder: Path) -> list[Path]:
    if folder.name != _PARTED or not folder.is_dir():
        return []
    return sorted(part for part in folder.iterdir() if holds_data(part))


def _download(name: str, data_dir: Path) -> None:
    folder = data_dir / name
    expected = f"expected the folder {folder} with {LAYOUT}, as a BEIR archive unpacks"
    if name in ON_REQUEST:
        raise InputFileError(
            f"There is no data set {name!r}: its texts have to be asked for, and nobody may hand them on; "
            f"{expected}."
        )
    if name not in ARCHIVES:
        raise InputFileError(f"There is no data set {name!r}: {expected}.")
    if folder.exists():
        raise InputFileError(
            f"The folder {folder} is no data set: {expected}; remove it to have {name!r} downloaded."
        )
    try:
        fetch = beir_fetch()
    except MissingExtraError as error:
        raise InputFileError(
            f"There is no data set {name!r}: {expected}; where there is a network, "
            f"pip install '{DISTRIBUTION}[{error.extra}]' and it is downloaded."
        ) from None
    download(ARCHIVES[name], data_dir, fetch)


@dataclass(frozen=True, slots=True)
class IrDataset:
    """A data set of ir_datasets; what it lacks on disk, ir_datasets downloads when it is read.

    Attributes:
        id: The id, with or without the split: `vaswani`, `beir/scifact`, `beir/scifact/test`.
    """

    id: str

    def documents(self) -> Iterator[Document]:
        """The corpus; title and text where the records have both, else ir_datasets' own choice of a text."""
        found = self._load(self.id)
        if not found.has_docs():
            raise InputError(f"The data set {self._name} has no documents: give the id of one that has.")
        with _translated(self._name):
            for record in found.docs_iter():
                yield _irds_document(record)

    def queries(self) -> dict[str, str]:
        """The texts of all queries by id, of all splits."""
        queries: dict[str, str] = {}
        for id in [self.id, *(f"{self.id}/{split}" for split in self.splits())]:
            if self._exists(id) and self._load(id).has_queries():
                with _translated(self._name):
                    for record in self._load(id).queries_iter():
                        queries.setdefault(record.query_id, _irds_text(record))
        return queries

    def splits(self) -> list[str]:
        """The ends of the ids below this one that have judgements; `["test"]` where this one has itself."""
        if self._load(self.id).has_qrels():
            return ["test"]
        prefix = f"{self.id}/"
        below = [id.removeprefix(prefix) for id in _irds().registry if id.startswith(prefix)]
        return sorted(split for split in below if self._load(prefix + split).has_qrels())

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements of `ID/SPLIT`, or of the id itself, which counts as its split `test`."""
        splits = self.splits()
        if not splits:
            raise InputError(f"The data set {self._name} has no judgements: give the id of one that has.")
        if split not in splits:
            raise InputError(f"{self._name} has no split {quote(split)}; choose one of {list_names(splits)}.")
        found = self._load(self.id)
        if not found.has_qrels():
            found = self._load(f"{self.id}/{split}")
        with _translated(self._name):
            return {query: dict(judged) for query, judged in found.qrels_dict().items()}

    @property
    def _name(self) -> str:
        return f"{IRDS}{self.id}"

    def _exists(self, id: str) -> bool:
        return id in _irds().registry

    def _load(self, id: str) -> Any:
        try:
            return _irds().load(id)
        except KeyError:
            raise InputFileError(
                f"There is no data set {IRDS}{id}: ir_datasets knows no such id; its catalogue lists those "
                "there are."
            ) from None


@dataclass(frozen=True, slots=True)
class NanoSet:
    """A NanoBEIR set: three tables, `corpus`, `queries` and `qrels`, each with the one split `train`.

    Attributes:
        repository: Where the library `datasets` finds it: a name on the hub, or a folder.
    """

    repository: str

    @classmethod
    def named(cls, name: str) -> NanoSet:
        """The set of a name of BEIR.

        Raises:
            InputError: There is none.
        """
        if name not in NANO_SETS:
            raise InputError(f"There is no data set {NANO}{name}: there are {', '.join(NANO_SETS)}.")
        return cls(f"zeta-alpha-ai/{NANO_SETS[name]}")

    def documents(self) -> Iterator[Document]:
        """The corpus."""
        for row in self._table("corpus"):
            yield Document(row["_id"], {"id": row["_id"], "text": row["text"]}, self.repository)

    def queries(self) -> dict[str, str]:
        """The texts of all queries by id."""
        return {row["_id"]: row["text"] for row in self._table("queries")}

    def splits(self) -> list[str]:
        """`test` alone: what NanoBEIR calls `train` is drawn from the test queries of BEIR."""
        return ["test"]

    def qrels(self, split: str = "test") -> Qrels:
        """The judgements, each of grade 1."""
        if split not in self.splits():
            raise InputError(f'{self.repository} has no split {quote(split)}; choose one of "test".')
        qrels: Qrels = {}
        for row in self._table("qrels"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = 1
        return qrels

    def _table(self, name: str) -> Any:
        try:
            load_dataset = import_module("datasets").load_dataset
        except ImportError:
            raise MissingExtraError("Reading a NanoBEIR data set", "nano") from None
        with _translated(self.repository):
            return load_dataset(self.repository, name, split="train")


class _translated:
    """Turns what a library raises where there is no network into one sentence."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, LsrError):
            reason = " ".join(str(error).split())[:100].rstrip(".")
            raise InputFileError(
                f"The data set {self._name} cannot be had ({type(error).__name__}: {reason}); without a "
                f"network, give a folder with {LAYOUT}."
            ) from error


def _irds() -> Any:
    try:
        return import_module("ir_datasets")
    except ImportError:
        raise MissingExtraError("Reading a data set of ir_datasets", "irds") from None


def _irds_document(record: Any) -> Document:
    id = record.doc_id
    text, title = getattr(record, "text", None), getattr(record, "title", None)
    fields = {"id": id, "text": text if isinstance(text, str) else _irds_text(record)}
    if isinstance(text, str) and isinstance(title, str) and title:
        fields["title"] = title
    return Document(id, fields, f"{IRDS}document {id}")


def _irds_text(record: Any) -> str:
    """The text that ir_datasets takes for a record when it has to take one."""
    return str(record.default_text() or "")
