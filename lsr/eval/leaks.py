"""The leak check: do training sets hold queries or documents of evaluation sets, or nearly so?

The evaluation sets are read first and kept as hashes (see `lsr.eval.near_texts`); the training sets are then
streamed past them, whatever their size. Four kinds of pairs are looked for, see `lsr.eval.leak_report.KINDS`.
Documents are compared by shingles of three words. Queries are compared by their words alone, since one
other word in a question of eight already changes three of its six shingles. A query stands inside a document
if the document holds enough of its shingles of three words; a query of fewer than six words is too short
for that to mean anything, and is not looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr.data.beir import find_queries
from lsr.data.corpus import count_documents, read_documents
from lsr.data.queries import read_queries
from lsr.data.sources import beir_corpus
from lsr.errors import InputError, InputFileError
from lsr.eval.datasets import Dataset, data_folder, load_datasets, shortest_names
from lsr.eval.efficiency import PeakMemory
from lsr.eval.leak_report import KINDS, CheckedSet, Gathering, Kind, Leak, LeakReport
from lsr.eval.minhash import Shingles, shingle
from lsr.eval.near_texts import Found, NearTexts, SharedShingles
from lsr.progress import Progress

DOCUMENT_SHINGLE = 3
QUERY_SHINGLE = 1
SHORTEST_CONTAINED = 6
"""Words that a query has at least to be looked for inside documents."""

_BATCH_TEXTS = 20_000
_BATCH_CHARACTERS = 4_000_000
_SNIPPET = 100

Text = tuple[str, str]
"""A text's id and the text."""


def find_leaks(
    training: Sequence[str | Path],
    *,
    against: Sequence[str],
    threshold: float = 0.8,
    split: str = "test",
    data_dir: str | Path | None = None,
    limit: int = 1000,
    progress: bool = False,
) -> LeakReport:
    """Looks for texts of evaluation sets in training sets.

    Args:
        training: BEIR folders (a folder with queries alone will do), names of such folders in the data
            directory, or whatever `lsr.data.corpus.read_documents` reads.
        against: Evaluation sets, as `lsr.eval.datasets.load_datasets` takes them; their judged queries and
            all their documents are looked for.
        threshold: The least similarity that counts, above 0 and up to 1.
        split: Which judged queries.
        data_dir: Where names are looked up; None for the folder that `LSR_DATA` names.
        limit: How many pairs are listed for a training set, an evaluation set and a kind; all are counted.
        progress: Show a line on stderr, on a terminal.

    Raises:
        InputFileError: A set is not there.
        InputError: A set that cannot be used, a threshold out of range, or nothing to compare.

    Example:
        >>> from lsr.data.demo_corpus import demo_folder
        >>> demo = demo_folder().path
        >>> report = find_leaks([demo], against=[str(demo)])
        >>> {count.kind: count.evaluation_texts for count in report.counts}["query-query"]
        64
    """
    _check(training, threshold, limit)
    started = time.perf_counter()
    sets = find_training(training, data_dir=data_dir)
    datasets = load_datasets(against, split=split, data_dir=data_dir)
    gathered: dict[tuple[str, str, Kind], Gathering] = {}
    checked: list[CheckedSet] = []
    with PeakMemory() as peak:
        kept = _Kept(datasets, threshold, progress=progress)
        total = sum(each.size() or 0 for each in sets) or None
        with Progress("Comparing", total, enabled=progress, unit="texts") as shown:
            for each in sets:
                checked.append(_compare(each, kept, gathered, limit, shown.advance))
    groups = [(key, found) for key, found in _in_order(gathered, sets, datasets)]
    return LeakReport(
        leaks=tuple(leak for _, found in groups for leak in found.leaks()),
        counts=tuple(found.count(*key) for key, found in groups),
        sets=(*checked, *kept.checked),
        threshold=threshold,
        missed=1.0 - kept.queries.near.bands.found(threshold),
        seconds=time.perf_counter() - started,
        index_mb=kept.nbytes / 1e6,
        peak_mb=peak.mb,
    )


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Texts that something is trained on.

    Attributes:
        name: As it stands in the report.
        path: The file or folder.
        queries_file: Where its queries are, or None.
        has_documents: Whether there are documents to read.
    """

    name: str
    path: Path
    queries_file: Path | None
    has_documents: bool

    def queries(self) -> dict[str, str]:
        """The texts of its queries by id."""
        return read_queries(self.queries_file) if self.queries_file else {}

    def documents(self) -> Iterator[Text]:
        """Its documents: id, and title and text."""
        if self.has_documents:
            for document in read_documents([self.path]):
                yield document.id, document.text

    def size(self) -> int | None:
        """About how many texts it has."""
        files = [self.path] if self.has_documents else []
        return count_documents(files + ([self.queries_file] if self.queries_file else []))


def find_training(names: Sequence[str | Path], *, data_dir: str | Path | None = None) -> list[TrainingSet]:
    """Finds training sets by path or by name, each once; nothing is read yet.

    Raises:
        InputFileError: There is no such file or folder.
    """
    paths = list(dict.fromkeys(_find(str(name), data_dir).resolve() for name in names))
    found = []
    for label, path in zip(shortest_names(paths), paths, strict=True):
        queries = find_queries(path) if path.is_dir() else None
        documents = queries is None or beir_corpus(path) is not None
        found.append(TrainingSet(label, path, queries, documents))
    return found


def _find(name: str, data_dir: str | Path | None) -> Path:
    if Path(name).exists():
        return Path(name)
    folder = data_folder(data_dir)
    if folder is not None and (folder / name).exists():
        return folder / name
    where = f"nor {folder / name}" if folder is not None else "and no data directory is named"
    raise InputFileError(
        f"There is no training set {name!r}: neither such a file or folder {where}; give a BEIR folder or a "
        "file that lsr index reads, or say with --data-dir or LSR_DATA where names are looked up."
    )


def _check(training: Sequence[str | Path], threshold: float, limit: int) -> None:
    if not training:
        raise InputError("There is no training set to check: name at least one.")
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"The threshold {threshold:g} cannot be used: give one above 0 and up to 1.")
    if limit < 0:
        raise InputError(f"The limit {limit} cannot be used: give 0 or more.")


class _KeptTexts:
    """One side of the evaluation sets, their queries or their documents: hashes, ids and beginnings."""

    def __init__(self, length: int, threshold: float) -> None:
        self._length = length
        self._threshold = threshold
        self._near_parts: list[Shingles] = []
        self._shared_parts: list[Shingles] = []
        self.sets: list[int] = []
        self.ids: list[str] = []
        self.snippets: list[str] = []

    def add(self, number: int, batch: Sequence[Text]) -> None:
        texts = [text for _, text in batch]
        self._near_parts.append(shingle(texts, length=self._length))
        same = self._length == DOCUMENT_SHINGLE
        self._shared_parts.append(self._near_parts[-1] if same else shingle(texts, length=DOCUMENT_SHINGLE))
        self.sets += [number] * len(batch)
        self.ids += [id for id, _ in batch]
        self.snippets += [_snippet(text) for text in texts]

    def close(self) -> None:
        self.words = np.concatenate([np.zeros(0, np.int64), *(part.words for part in self._near_parts)])
        self.near = NearTexts(self._near_parts, threshold=self._threshold)
        self.shared = SharedShingles(self._shared_parts)
        self._near_parts = self._shared_parts = []


class _Kept:
    """The evaluation sets."""

    def __init__(self, datasets: Sequence[Dataset], threshold: float, *, progress: bool) -> None:
        self.names = [dataset.name for dataset in datasets]
        self.threshold = threshold
        self.queries = _KeptTexts(QUERY_SHINGLE, threshold)
        self.documents = _KeptTexts(DOCUMENT_SHINGLE, threshold)
        self.checked: list[CheckedSet] = []
        with Progress("Reading what to look for", None, enabled=progress) as shown:
            for number, dataset in enumerate(datasets):
                for batch in _batches(dataset.queries.items()):
                    self.queries.add(number, batch)
                documents = 0
                for batch in _batches((document.id, document.text) for document in dataset.documents()):
                    self.documents.add(number, batch)
                    documents += len(batch)
                    shown.advance(len(batch))
                self.checked.append(CheckedSet(dataset.name, "evaluation", len(dataset.queries), documents))
        self.queries.close()
        self.documents.close()

    @property
    def nbytes(self) -> int:
        return sum(side.near.nbytes + side.shared.nbytes for side in (self.queries, self.documents))


def _compare(
    each: TrainingSet,
    kept: _Kept,
    gathered: dict[tuple[str, str, Kind], Gathering],
    limit: int,
    advance: Callable[[int], None],
) -> CheckedSet:
    """Streams a training set past the kept texts."""
    read = {"queries": 0, "documents": 0}

    def gather(kind: Kind, batch: Sequence[Text], side: _KeptTexts, found: Iterable[Found]) -> None:
        for row, place, similarity in found:
            leak = Leak(
                kind,
                each.name,
                batch[row][0],
                kept.names[side.sets[place]],
                side.ids[place],
                round(similarity, 4),
                _snippet(batch[row][1]),
                side.snippets[place],
            )
            gathered.setdefault((each.name, leak.evaluation, kind), Gathering(limit)).add([leak])

    for batch in _batches(each.queries().items()):
        texts = [text for _, text in batch]
        words = shingle(texts, length=QUERY_SHINGLE)
        gather("query-query", batch, kept.queries, kept.queries.near.find(words))
        inside = _inside(shingle(texts, length=DOCUMENT_SHINGLE), kept)
        gather("query-in-document", batch, kept.documents, inside)
        read["queries"] += len(batch)
        advance(len(batch))
    for batch in _batches(each.documents()):
        shingles = shingle([text for _, text in batch], length=DOCUMENT_SHINGLE)
        gather("document-document", batch, kept.documents, kept.documents.near.find(shingles))
        gather("document-holds-query", batch, kept.queries, _holding(shingles, kept))
        read["documents"] += len(batch)
        advance(len(batch))
    return CheckedSet(each.name, "training", read["queries"], read["documents"])


def _inside(queries: Shingles, kept: _Kept) -> Iterator[Found]:
    """The training queries that stand inside kept documents."""
    sizes = np.diff(queries.unique().indptr)
    long_enough = queries.words >= SHORTEST_CONTAINED
    rows, places, counts = kept.documents.shared.count(queries)
    return _above(rows, places, counts / sizes[rows], long_enough[rows], kept.threshold)


def _holding(documents: Shingles, kept: _Kept) -> Iterator[Found]:
    """The training documents that hold kept queries."""
    long_enough = kept.queries.words >= SHORTEST_CONTAINED
    rows, places, counts = kept.queries.shared.count(documents)
    shares = counts / kept.queries.shared.sizes[places]
    return _above(rows, places, shares, long_enough[places], kept.threshold)


def _above(
    rows: np.ndarray, places: np.ndarray, shares: np.ndarray, allowed: np.ndarray, threshold: float
) -> Iterator[Found]:
    chosen = np.flatnonzero(allowed & (shares >= threshold))
    yield from zip(rows[chosen].tolist(), places[chosen].tolist(), shares[chosen].tolist(), strict=True)


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    """Texts in batches that keep memory flat."""
    batch: list[Text] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text[1])
        if len(batch) >= _BATCH_TEXTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _snippet(text: str) -> str:
    flat = " ".join(text[: 4 * _SNIPPET].split())
    return flat if len(flat) <= _SNIPPET else flat[: _SNIPPET - 1].rstrip() + "…"


def _in_order(
    gathered: dict[tuple[str, str, Kind], Gathering],
    sets: Sequence[TrainingSet],
    datasets: Sequence[Dataset],
) -> Iterator[tuple[tuple[str, str, Kind], Gathering]]:
    for each in sets:
        for dataset in datasets:
            for kind in KINDS:
                key = (each.name, dataset.name, kind)
                if key in gathered:
                    yield key, gathered[key]
