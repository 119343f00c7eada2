"""Texts to files of sparse vectors, as `lsr encode` runs it: checked, encoded, written batch by batch.

Memory does not grow with the number of texts, but for eight bytes an id (queries are read whole). Documents
are looked through first where they can be read twice, so that a broken line or a repeated id is told before
the hours of encoding and not after them.
"""

from __future__ import annotations

import json
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from lsr.adding import BATCH_DOCUMENTS
from lsr.building import Reading
from lsr.data.beir import BeirFolder
from lsr.data.canonical import list_names
from lsr.data.queries import read_queries
from lsr.data.vectors_out import VectorWriter, check_output, name_terms, open_writer
from lsr.encoders.loading import Device, Precision, load_encoder
from lsr.encoders.protocol import Encoder
from lsr.errors import DuplicateIdError, InputError
from lsr.index.memory import read_memory
from lsr.progress import Progress, duration, say
from lsr.survey import Survey, measure_speed, survey
from lsr.types import SparseBatch

_WAITING_BYTES = 64 << 20
_MOST_WEIGHTS = 1 << 25  # together: a row group of Parquet counts its characters in 32 bits
_BATCH_CHARACTERS = 4_000_000
_ID_BYTES = 100


class Texts(Protocol):
    """What is encoded.

    Attributes:
        unit: What they are, in the plural.
        max_length: Word pieces that the encoder's neural side reads of each; None for its own limit.
    """

    @property
    def unit(self) -> str:
        """`"documents"` or `"queries"`."""

    @property
    def max_length(self) -> int | None:
        """How much of each is read."""

    def survey(self) -> Survey | None:
        """Looks through the texts, if they can be read twice.

        Raises:
            InputError: A text that cannot be read, or an id that comes twice.
        """

    def read(self, faults: list[str]) -> Iterator[tuple[str, str]]:
        """Ids and texts; a sentence joins `faults` for each that was left out."""

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> SparseBatch:
        """Vectors of some of the texts."""


@dataclass(frozen=True, slots=True)
class DocumentTexts:
    """Documents of a corpus.

    Attributes:
        reading: Which, and how to read them.
        max_length: Word pieces that the encoder's neural side reads; None for its own limit.
    """

    reading: Reading
    max_length: int | None = None

    @property
    def unit(self) -> str:
        """See `Texts`."""
        return "documents"

    def survey(self) -> Survey | None:
        """See `Texts.survey`."""
        try:
            return survey(self.reading.corpus, lambda: self.reading.documents([]), unique=True)
        except DuplicateIdError as error:
            raise _twice(error.ids) from None

    def read(self, faults: list[str]) -> Iterator[tuple[str, str]]:
        """See `Texts.read`."""
        return ((document.id, document.text) for document in self.reading.documents(faults))

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> SparseBatch:
        """See `Texts.encode`."""
        return encoder.encode_batch(texts, max_length=self.max_length)


class QueryTexts:
    """Queries of files or BEIR folders, read whole.

    Queries have no `max_length`: each is read as the encoder's query side reads it.

    Args:
        sources: The files and folders.

    Raises:
        InputFileError: A file is not there or cannot be read.
        InputError: A line is no query, or an id comes twice.
    """

    max_length: int | None = None

    def __init__(self, sources: Sequence[str]) -> None:
        self._queries: dict[str, str] = {}
        twice: list[str] = []
        for source in sources:
            if source == "-":
                raise InputError("queries are not read from standard input; give a file of them.")
            folder = Path(source).is_dir()
            found = BeirFolder(source).queries() if folder else read_queries(source)
            twice += [id for id in found if id in self._queries]
            self._queries |= found
        if twice:
            raise _twice(twice)

    @property
    def unit(self) -> str:
        """See `Texts`."""
        return "queries"

    def survey(self) -> Survey:
        """See `Texts.survey`."""
        return Survey(len(self._queries), ())

    def read(self, faults: list[str]) -> Iterator[tuple[str, str]]:
        """See `Texts.read`; no query is left out."""
        return iter(self._queries.items())

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> SparseBatch:
        """See `Texts.encode`."""
        matrix = encoder.encode_queries(texts)
        indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        return SparseBatch(indptr, indices, matrix.data, encoder.dimension)


@dataclass(frozen=True, slots=True)
class EncodeRequest:
    """Everything that `lsr encode` was asked for.

    Attributes:
        texts: What is encoded.
        output: The file, or `"-"` for standard output; see `lsr.data.vectors_out`.
        encoder: A bundled name or a model folder.
        overwrite: Replace files that are there.
        batch_size: Texts that go to the encoder at once; None for a good number.
        device: Where the encoder runs.
        precision: Arithmetic of the encoder.
        memory: What may wait in memory to be written, as in `"2GB"`.
    """

    texts: Texts
    output: str
    encoder: str = "default"
    overwrite: bool = False
    batch_size: int | None = None
    device: Device = "auto"
    precision: Precision = "auto"
    memory: str | None = None


@dataclass(slots=True)
class Encoded:
    """What was encoded, and where it lies.

    Attributes:
        encoder: The encoder's resolved name.
        fingerprint: Its fingerprint.
        max_document_weight: The largest weight that it states, by which an index of its own is scaled; None
            if it states none.
        max_length: Word pieces that its neural side reads of a document, or None without one.
        unit: `"documents"` or `"queries"`.
        texts: How many.
        terms: Weights of all of them together.
        empty: Texts without any term.
        truncated: Documents whose neural side was cut.
        seconds: Wall-clock time.
        files: What was written; none for standard output.
        faults: A sentence for each line that was skipped.
    """

    encoder: str
    fingerprint: str
    max_document_weight: float | None
    max_length: int | None
    unit: str
    texts: int = 0
    terms: int = 0
    empty: int = 0
    truncated: int = 0
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def terms_each(self) -> float:
        """Weights of a text, on average."""
        return self.terms / self.texts if self.texts else 0.0


def encode_to_file(request: EncodeRequest) -> Encoded:
    """Encodes texts and writes their vectors; the files appear whole, at the end.

    Raises:
        InputError: A text, an id or an option that cannot be used; a file that is there already.
        InputFileError: A file cannot be read or written.
        UnknownEncoderError: No such encoder.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    started = time.monotonic()
    limit = read_memory(request.memory) or _WAITING_BYTES
    check_output(request.output, overwrite=request.overwrite)
    encoder = load_encoder(request.encoder, device=request.device, precision=request.precision)
    surveyed = request.texts.survey()
    _say_estimate(encoder, request.texts, surveyed)
    done = Encoded(
        encoder.name,
        encoder.fingerprint,
        encoder.max_document_weight,
        request.texts.max_length or encoder.max_length,
        request.texts.unit,
    )
    names = name_terms(map(encoder.term, range(encoder.dimension)))
    total = None if surveyed is None else surveyed.documents
    with (
        open_writer(request.output, names, overwrite=request.overwrite) as writer,
        Progress("Encoding", total, enabled=True, unit=done.unit) as progress,
    ):
        _encode_all(request, encoder, Waiting(writer, limit), done, progress, unsure=surveyed is None)
        writer.finish()
        done.files = writer.files
    done.seconds = time.monotonic() - started
    return done


def _encode_all(
    request: EncodeRequest,
    encoder: Encoder,
    waiting: Waiting,
    done: Encoded,
    progress: Progress,
    *,
    unsure: bool,
) -> None:
    """Every text, batch by batch; `unsure` whether an id comes twice."""
    with IdLog() as log:
        read = request.texts.read(done.faults)
        for ids, texts in _batches(read, request.batch_size or BATCH_DOCUMENTS):
            if unsure:
                log.add(ids)
            batch = request.texts.encode(encoder, texts)
            done.texts += len(batch)
            done.terms += len(batch.values)
            done.empty += int(np.count_nonzero(np.diff(batch.indptr) == 0))
            done.truncated += 0 if batch.cut is None else int(np.count_nonzero(batch.cut))
            waiting.put(ids, batch)
            progress.advance(len(batch))
        log.check()
    waiting.write()


def _batches(read: Iterator[tuple[str, str]], size: int) -> Iterator[tuple[list[str], list[str]]]:
    ids: list[str] = []
    texts: list[str] = []
    characters = 0
    for id, text in read:
        ids.append(id)
        texts.append(text)
        characters += len(text)
        if len(ids) >= size or characters >= _BATCH_CHARACTERS:
            yield ids, texts
            ids, texts, characters = [], [], 0
    if ids:
        yield ids, texts


class Waiting:
    """Vectors on their way to a writer: they go on when there are enough of them.

    Args:
        writer: Takes them.
        limit: Bytes that may wait.
    """

    def __init__(self, writer: VectorWriter, limit: int) -> None:
        self._writer = writer
        self._limit = limit
        self._ids: list[str] = []
        self._batches: list[SparseBatch] = []
        self._bytes = 0
        self._weights = 0

    def put(self, ids: Sequence[str], batch: SparseBatch) -> None:
        """Takes a batch, and writes all that waits if it is enough."""
        if self._weights + len(batch.values) > _MOST_WEIGHTS:
            self.write()
        self._ids += ids
        self._batches.append(batch)
        self._weights += len(batch.values)
        self._bytes += batch.values.nbytes + batch.indices.nbytes + len(ids) * _ID_BYTES
        if self._bytes >= self._limit:
            self.write()

    def write(self) -> None:
        """Writes what waits."""
        if self._batches:
            self._writer.write(self._ids, _join(self._batches))
        self._ids, self._batches = [], []
        self._bytes = self._weights = 0


def _join(batches: Sequence[SparseBatch]) -> SparseBatch:
    starts = np.cumsum([0, *(len(batch.values) for batch in batches)])
    offsets = [batch.indptr[1:] + start for batch, start in zip(batches, starts[:-1], strict=True)]
    return SparseBatch(
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([batch.indices for batch in batches]),
        np.concatenate([batch.values for batch in batches]),
        batches[0].dimension,
    )


class IdLog:
    """Finds ids that come twice in an input that is read once: eight bytes of memory an id.

    The ids themselves wait in a temporary file, to be read again only where two of them may be the same.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> IdLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, ids: Sequence[str]) -> None:
        """Notes ids."""
        self._hashes.extend(map(hash, ids))
        self._file.write("".join(f"{json.dumps(id)}\n" for id in ids).encode("ascii"))

    def check(self) -> None:
        """Raises DuplicateIdError if an id came twice."""
        ordered = np.sort(np.frombuffer(self._hashes, np.int64)) if self._hashes else np.empty(0, np.int64)
        suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        if not suspects:
            return
        self._file.seek(0)
        counts = Counter(id for id in map(json.loads, self._file) if hash(id) in suspects)
        twice = [id for id, count in counts.items() if count > 1]
        if twice:
            raise _twice(twice)


def _twice(ids: list[str]) -> DuplicateIdError:
    what = "id comes" if len(ids) == 1 else "ids come"
    return DuplicateIdError(
        f"{len(ids):,} {what} twice in the input: {list_names(ids)}; give each text an id of its own.", ids
    )


def _say_estimate(encoder: Encoder, texts: Texts, surveyed: Survey | None) -> None:
    if surveyed is None:
        say(f"Encoding with {encoder.name}; the input is read once, so how much there is to do is not known.")
        return
    count = f"{surveyed.documents:,} {texts.unit}"
    if not surveyed.sample:
        say(f"Encoding {count} with {encoder.name}.")
        return
    rate = measure_speed(encoder, surveyed.sample, max_length=texts.max_length)
    takes = f"about {duration(surveyed.documents / rate)}"
    if surveyed.documents <= rate:
        takes = "less than a second"
    say(f"Encoding {count} with {encoder.name}: {takes} at {rate:,.0f} documents a second.")
