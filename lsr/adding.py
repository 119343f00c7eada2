"""Documents, or vectors made elsewhere, into an index: checked, compared with what is there, stored.

`Adder` is the one way in, for `Index.add`, `Index.add_vectors` and `lsr index`: it takes prepared documents
in batches, decides about ids that are there already, and commits by the rules it was given.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsr.data.canonical import canonical_json, content_hash, list_names, normalise_document
from lsr.encoders.protocol import Encoder
from lsr.errors import DuplicateIdError, InputError
from lsr.progress import Progress
from lsr.types import AddReport, Document, SparseBatch

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lsr.index.store import Store, Writer

logger = logging.getLogger(__name__)

OnDuplicate = Literal["error", "skip", "replace"]

COMMIT_DOCUMENTS = 100_000
BATCH_DOCUMENTS = 512
_BATCH_CHARACTERS = 4_000_000
_MORE_DUPLICATES = 100_000

Vector = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be stored.

    Attributes:
        id: Its id.
        text: What is encoded; empty for vectors made elsewhere.
        fields: The document, for its typed columns.
        stored: The document as canonical JSON.
        hash: Its content hash, over the vector too where it brings one.
        vector: Columns and weights of a vector made elsewhere, or None.
    """

    id: str
    text: str
    fields: Mapping[str, Any]
    stored: bytes
    hash: bytes
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What an addition does about duplicates, and when it commits.

    Attributes:
        on_duplicate: What to do with an id that is there.
        same_is_done: An id that is there with the same content is skipped without a word (`--append`).
        commit_documents: Commit after so many documents.
        commit_seconds: Commit after so many seconds, or None.
        batch_size: Documents that go to the encoder at once.
    """

    on_duplicate: OnDuplicate = "error"
    same_is_done: bool = False
    commit_documents: int = COMMIT_DOCUMENTS
    commit_seconds: float | None = None
    batch_size: int = BATCH_DOCUMENTS

    def __post_init__(self) -> None:
        if self.on_duplicate not in ("error", "skip", "replace"):
            raise InputError(
                f"on_duplicate={self.on_duplicate!r} is unknown; choose 'error', 'skip' or 'replace'."
            )


@dataclass(slots=True)
class Tally:
    """What an addition has done so far; `committed` is the part that a kill would leave."""

    added: int = 0
    skipped: int = 0
    replaced: int = 0
    truncated: int = 0
    empty: int = 0
    clipped: int = 0
    committed: int = 0
    started: float = field(default_factory=time.monotonic)

    def report(self) -> AddReport:
        """The record for the caller."""
        return AddReport(
            added=self.added,
            skipped=self.skipped,
            replaced=self.replaced,
            truncated=self.truncated,
            seconds=time.monotonic() - self.started,
            empty=self.empty,
            clipped=self.clipped,
        )


def add_documents(
    store: Store,
    encoder: Encoder,
    documents: Iterable[Mapping[str, Any]],
    *,
    on_duplicate: OnDuplicate,
    progress: bool,
) -> AddReport:
    """See `lsr.api.Index.add`."""
    rules = Rules(on_duplicate)
    total = len(documents) if isinstance(documents, Sequence) else None
    with Progress("Adding", total, enabled=progress) as reporter:
        adder = Adder(store, rules, encode_with(encoder, store.settings.max_length), reporter)
        return adder.run(prepare_dicts(documents))


def add_vectors(
    store: Store,
    ids: Sequence[str],
    vectors: csr_array,
    documents: Sequence[Mapping[str, Any]] | None,
    *,
    on_duplicate: OnDuplicate,
) -> AddReport:
    """See `lsr.api.Index.add_vectors`."""
    from lsr.vectors import prepare_rows, read_vectors_for

    batch = read_vectors_for(store.settings.dimension, vectors)
    prepared = prepare_rows(list(ids), batch, None if documents is None else list(documents))
    with Progress("Adding", len(batch), enabled=False) as reporter:
        adder = Adder(store, Rules(on_duplicate), join_vectors(batch.dimension), reporter)
        return adder.run(prepared, largest=float(batch.values.max(initial=0.0)))


def prepare_dicts(documents: Iterable[Mapping[str, Any]]) -> Iterator[Prepared]:
    """The documents of a Python caller, checked one by one; an error says which one it was."""
    if isinstance(documents, str | bytes | Mapping):
        raise InputError("add takes an iterable of dicts with id and text; put a single document in a list.")
    for number, fields in enumerate(documents, 1):
        try:
            yield prepare(normalise_document(fields))
        except InputError as error:
            raise InputError(f"Item {number:,} of the documents: {error}") from None


def prepare_read(documents: Iterable[Document], faults: list[str] | None = None) -> Iterator[Prepared]:
    """Documents as a reader gives them; an error says where, or joins `faults` and is skipped."""
    for document in documents:
        try:
            prepared = prepare(document.fields)
        except InputError as error:
            message = f"{document.where}: {error}"
            if faults is None:
                raise InputError(message) from None
            faults.append(message)
            continue
        yield prepared


def prepare(fields: Mapping[str, Any], vector: Vector | None = None) -> Prepared:
    """One normalised document in the form that is stored.

    Raises:
        InputError: A value that is not JSON.
    """
    stored = canonical_json(fields)
    hashed = stored if vector is None else b"".join([stored, vector[0].tobytes(), vector[1].tobytes()])
    text = Document(fields["id"], fields).text if vector is None else ""
    return Prepared(fields["id"], text, fields, stored, content_hash(hashed), vector)


def encode_with(encoder: Encoder, max_length: int | None) -> Callable[[Sequence[Prepared]], SparseBatch]:
    """Encodes the texts of a batch."""

    def encode(batch: Sequence[Prepared]) -> SparseBatch:
        return encoder.encode_batch([document.text for document in batch], max_length=max_length)

    return encode


def join_vectors(dimension: int) -> Callable[[Sequence[Prepared]], SparseBatch]:
    """Takes the vectors that a batch brings with it."""

    def join(batch: Sequence[Prepared]) -> SparseBatch:
        vectors = [document.vector for document in batch if document.vector is not None]
        indptr = np.zeros(len(vectors) + 1, np.int64)
        np.cumsum([len(columns) for columns, _ in vectors], out=indptr[1:])
        columns = np.concatenate([c for c, _ in vectors]) if vectors else np.empty(0, np.int32)
        values = np.concatenate([v for _, v in vectors]) if vectors else np.empty(0, np.float32)
        return SparseBatch(indptr, columns, values, dimension)

    return join


class Adder:
    """Adds prepared documents to a store, under its writer's lock.

    Args:
        store: Where to.
        rules: About duplicates and commits.
        encode: Makes the vectors of a batch.
        progress: Is told of every document that was dealt with.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        encode: Callable[[Sequence[Prepared]], SparseBatch],
        progress: Progress,
    ) -> None:
        self._store = store
        self._rules = rules
        self._encode = encode
        self._progress = progress
        self.tally = Tally()
        self._uncommitted: dict[str, bytes] = {}  # id to content hash
        self._last_commit = time.monotonic()
        self._window_ends = False

    def run(
        self, documents: Iterable[Prepared], *, largest: float | None = None, publish: bool = False
    ) -> AddReport:
        """Adds all documents and commits.

        Args:
            documents: In the order in which they get their sequence numbers.
            largest: The largest weight that is to come, for an index that has no scale yet.
            publish: End the store's pending build: what it holds becomes the index.

        Raises:
            DuplicateIdError: An id is there already, and the rules forbid it.
        """
        stream = iter(documents)
        with self._store.writing() as writer:
            if largest is not None:
                writer.fix_scale(largest)
            gather = self._windows if self._rules.on_duplicate == "replace" else self._batches
            for batch in gather(stream):
                self._add(writer, batch, stream)
                if self._commit_is_due():
                    self._commit(writer)
            self._commit(writer)
            if publish:
                writer.finish_build()
        return self.tally.report()

    def _batches(self, stream: Iterator[Prepared]) -> Iterator[list[Prepared]]:
        batch: list[Prepared] = []
        characters = 0
        for document in stream:
            batch.append(document)
            characters += len(document.text)
            if len(batch) >= self._rules.batch_size or characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch

    def _windows(self, stream: Iterator[Prepared]) -> Iterator[list[Prepared]]:
        """Batches in which the last document of an id has won against those before it.

        What one commit will hold is gathered first (in memory), so that no version is encoded in vain.
        """
        while window := self._read_window(stream):
            yield from self._batches(iter(window))
            self._window_ends = True

    def _read_window(self, stream: Iterator[Prepared]) -> list[Prepared]:
        window: dict[str, Prepared] = {}
        for document in stream:
            earlier = window.pop(document.id, None)
            window[document.id] = document
            if earlier is not None and self._rules.same_is_done and earlier.hash == document.hash:
                self.tally.skipped += 1
            elif earlier is not None:
                self.tally.replaced += 1
            if len(window) >= self._rules.commit_documents:
                break
        return list(window.values())

    def _add(self, writer: Writer, batch: list[Prepared], stream: Iterator[Prepared]) -> None:
        """Adds those documents of a batch that the rules let in."""
        segments, places = self._store.snapshot.find([document.id for document in batch])
        kept: list[Prepared] = []
        twice: list[str] = []
        for position, document in enumerate(batch):
            place = (int(segments[position]), int(places[position]))
            known = self._known_hash(document.id, place)
            if known is None:
                self.tally.added += 1
            elif self._rules.on_duplicate == "skip" or (self._rules.same_is_done and known == document.hash):
                self.tally.skipped += 1
                continue
            elif self._rules.on_duplicate == "error":
                twice.append(document.id)
                continue
            else:
                writer.delete([place])
                self.tally.replaced += 1
            self._uncommitted[document.id] = document.hash
            kept.append(document)
        if twice:
            raise self._duplicates(twice, stream)
        if kept:
            self._write(writer, kept)
        self._progress.advance(len(batch))

    def _known_hash(self, id: str, place: tuple[int, int]) -> bytes | None:
        """The content hash of what is there under an id, from this addition or from before."""
        if id in self._uncommitted:
            return self._uncommitted[id]
        return self._store.snapshot.content_hash(*place) if place[0] >= 0 else None

    def _write(self, writer: Writer, kept: list[Prepared]) -> None:
        vectors = self._encode(kept)
        lengths = np.diff(vectors.indptr)
        self.tally.empty += int(np.count_nonzero(lengths == 0))
        self.tally.truncated += 0 if vectors.cut is None else int(np.count_nonzero(vectors.cut))
        self.tally.clipped += writer.add_rows(
            vectors,
            [document.id for document in kept],
            [document.stored for document in kept],
            [document.hash for document in kept],
            [document.fields for document in kept],
        )

    def _commit_is_due(self) -> bool:
        if self._window_ends or len(self._uncommitted) >= self._rules.commit_documents:
            return True
        limit = self._rules.commit_seconds
        return limit is not None and time.monotonic() - self._last_commit >= limit

    def _commit(self, writer: Writer) -> None:
        if self._uncommitted:
            writer.commit()
        self.tally.committed = self.tally.added + self.tally.replaced
        self._uncommitted.clear()
        self._window_ends = False
        self._last_commit = time.monotonic()

    def _duplicates(self, found: list[str], stream: Iterator[Prepared]) -> DuplicateIdError:
        """The error for ids that are there; the rest of the input is looked through for more of them."""
        ids = dict.fromkeys(found)
        snapshot = self._store.snapshot
        try:
            for document in islice(stream, _MORE_DUPLICATES):
                segments, places = snapshot.find([document.id])
                known = self._known_hash(document.id, (int(segments[0]), int(places[0])))
                if known is None:
                    self._uncommitted[document.id] = document.hash
                elif not (self._rules.same_is_done and known == document.hash):
                    ids[document.id] = None
        except Exception:  # the first fault is the one to report
            logger.debug("The input could not be read to its end.", exc_info=True)
        return duplicate_error(list(ids), resuming=self._rules.same_is_done)


def duplicate_error(ids: list[str], *, resuming: bool = False) -> DuplicateIdError:
    """The error that lists ids which are there already."""
    one = len(ids) == 1
    what = "with another content" if resuming else "or twice in the input"
    return DuplicateIdError(
        f"{len(ids):,} {'id is' if one else 'ids are'} there already, {what}: {list_names(ids)}; "
        'say what to do with on_duplicate="skip" or "replace" (--on-duplicate on the command line).',
        ids,
    )
