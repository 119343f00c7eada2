"""Long builds, as `lsr index` runs them: surveyed, estimated, committed as they go, resumed when killed.

A build without `append` is written beside the index it will replace (or as a pending build in a new
folder) and published at its end. Its input is looked through first, so that a broken line or a repeated id
at the end of a corpus is found before the hours of encoding and not after them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lsr.adding import (
    BATCH_DOCUMENTS,
    Adder,
    OnDuplicate,
    Prepared,
    Rules,
    Tally,
    encode_with,
    join_vectors,
    prepare_read,
)
from lsr.data.corpus import read_documents
from lsr.encoders.loading import Device, Precision, load_encoder
from lsr.encoders.protocol import Encoder
from lsr.errors import IndexNotFoundError, InputError, LsrError
from lsr.index.store import Store
from lsr.progress import Progress, say
from lsr.settings import Plan, encoder_of, plan_index
from lsr.survey import Survey, say_estimate, survey
from lsr.types import AddReport

COMMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Which documents, and how to read them.

    Attributes:
        corpus: Files, folders, or `"-"`.
        id_field: The field of the id, or None for the usual ones.
        text_fields: The fields of the text, or none for the usual ones.
        on_error: What to do at a line that cannot be read.
    """

    corpus: tuple[str, ...] = ()
    id_field: str | None = None
    text_fields: tuple[str, ...] = ()
    on_error: Literal["stop", "skip"] = "stop"

    def documents(self, faults: list[str] | None) -> Iterable[Prepared]:
        """Reads, checks and prepares; lines that are skipped are told in `faults`."""
        read = read_documents(
            self.corpus,
            id_field=self.id_field,
            text_fields=self.text_fields,
            on_error=self.on_error,
            errors=faults,
        )
        return prepare_read(read, faults if self.on_error == "skip" else None)


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that `lsr index` and `lsr add` were asked for.

    Attributes:
        path: The index.
        reading: The documents.
        vectors: A file of vectors made elsewhere, instead of documents.
        encoder: A name, or None for the index's own (when appending) or the default.
        adding: Change an index that is there, whole or not at all (`lsr add`).
        append: Go on with an index or a build that is there (`lsr index --append`).
        overwrite: Replace an index that is there.
        on_duplicate: What to do with an id that is there.
        batch_size: Documents that go to the encoder at once; None for a good number.
        max_length: Word pieces that the encoder's neural side reads; None for its own limit.
        device: Where the encoder runs.
        precision: Arithmetic of the encoder.
        memory: What may wait in memory to be written, as in `"2GB"`.
        compress: Make a new index whose segments take less room.
        max_document_weight: For vectors, the weight that scales a new index; None for the largest of them.
        commit_seconds: Commit after so many seconds, or None to commit by number alone.
    """

    path: Path
    reading: Reading
    vectors: Path | None = None
    encoder: str | None = None
    adding: bool = False
    append: bool = False
    overwrite: bool = False
    on_duplicate: OnDuplicate = "error"
    batch_size: int | None = None
    max_length: int | None = None
    device: Device = "auto"
    precision: Precision = "auto"
    memory: str | None = None
    compress: bool = False
    max_document_weight: float | None = None
    commit_seconds: float | None = COMMIT_SECONDS


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made.

    Attributes:
        report: What was added.
        documents: Documents in the index now.
        segments: Its segments.
        encoder: The name of its encoder, or None.
        max_length: Word pieces that the encoder's neural side read, or None without one.
        faults: A sentence for each line that was skipped.
    """

    report: AddReport
    documents: int
    segments: int
    encoder: str | None
    max_length: int | None
    faults: list[str] = field(default_factory=list)


class Build:
    """One run of `lsr index` or `lsr add`.

    Args:
        request: What was asked for.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._faults: list[str] = []
        self._encoder: Encoder | None = None
        self._tally = Tally()
        self._pending = False  # a build of our own, not yet published
        self._kept = False  # what was committed outlives an error

    def run(self) -> Built:
        """Builds or adds, and publishes.

        Raises:
            LsrError: Whatever is wrong with the input, the target or the options; what a first build had
                made is removed then.
        """
        request = self._request
        if request.append and request.overwrite:
            raise InputError("--append goes on with an index and --overwrite replaces it; choose one.")
        store = self._open()
        try:
            report = self._fill(store)
        except BaseException as error:
            self._tidy(store, error)
            raise
        finally:
            store.close()
        with Store.open(request.path) as built:
            return Built(
                report=report,
                documents=len(built.snapshot),
                segments=len(built.snapshot.segments),
                encoder=built.settings.encoder_name,
                max_length=self._limit(),
                faults=self._faults,
            )

    def what_is_kept(self) -> str:
        """The sentence for a user who stopped the build."""
        committed = self._tally.committed
        if not committed:
            return "Stopped; nothing had been committed yet, and everything is as it was."
        if not self._request.adding:
            return (
                f"Stopped; {committed:,} documents of this run are committed and kept: go on with "
                f"lsr index … --index {self._request.path} --append."
            )
        return f"Stopped; {committed:,} documents of this run are committed and kept."

    # Where to

    def _open(self) -> Store:
        request = self._request
        store: Store | None
        if request.adding:
            store = Store.open(request.path)
            self._meet(store)
            return store
        if request.append:
            store = Store.resume_build(request.path)
            self._pending = store is not None
            if store is None:
                store = self._open_finished()
            if store is not None:
                self._kept = True
                self._meet(store)
                return store
        plan = self._plan()
        self._encoder = plan.encoder
        self._pending = True
        self._kept = request.append
        return Store.begin_build(
            request.path, plan.settings, query_side=plan.query_side, overwrite=request.overwrite
        )

    def _open_finished(self) -> Store | None:
        try:
            return Store.open(self._request.path)
        except IndexNotFoundError:
            return None

    def _plan(self) -> Plan:
        request = self._request
        if request.vectors is not None:
            from lsr.data.vectors import read_vectors

            return plan_index(
                None,
                vocabulary=read_vectors(request.vectors).vocabulary,
                max_document_weight=request.max_document_weight,
                memory=request.memory,
                compress=request.compress,
            )
        encoder = self._load(request.encoder or "default")
        named = request.encoder or "default"
        return plan_index(
            named,
            loaded=encoder,
            memory=request.memory,
            max_length=request.max_length,
            compress=request.compress,
        )

    def _meet(self, store: Store) -> None:
        """Finds the encoder of an index that is there, or refuses what does not fit it."""
        request = self._request
        settings = store.settings
        if request.max_document_weight is not None:
            raise InputError(f"{request.path} has its scale already; leave --max-document-weight out.")
        if request.compress and not settings.compress:
            raise InputError(f"{request.path} was made without --compress; leave the option out.")
        if request.vectors is not None:
            if settings.encoder_name is not None:
                raise InputError(
                    f"{request.path} was made by the encoder {settings.encoder_name!r}; --vectors adds to an "
                    "index that was made with --vectors."
                )
            return
        if request.max_length not in (None, settings.max_length):
            raise InputError(
                f"{request.path} was made with --max-length {settings.max_length or 'of its encoder'}; "
                "all its documents have to be read alike, so leave the option out."
            )
        if settings.encoder_name is not None:
            loaded = self._load(request.encoder) if request.encoder else None
            self._encoder = encoder_of(settings, loaded, device=request.device, precision=request.precision)
        else:
            self._encoder = encoder_of(settings)

    def _load(self, name: str) -> Encoder:
        return load_encoder(name, device=self._request.device, precision=self._request.precision)

    # What goes in

    def _fill(self, store: Store) -> AddReport:
        request = self._request
        rules = Rules(
            request.on_duplicate,
            same_is_done=request.append,
            commit_seconds=request.commit_seconds,
            batch_size=request.batch_size or BATCH_DOCUMENTS,
        )
        if request.vectors is not None:
            return self._fill_vectors(store, rules, request.vectors)
        assert self._encoder is not None
        surveyed = self._survey(store)
        encode = encode_with(self._encoder, store.settings.max_length)
        with Progress("Indexing", surveyed.documents if surveyed else None, enabled=True) as progress:
            adder = Adder(store, rules, encode, progress)
            self._tally = adder.tally
            self._faults.clear()
            return adder.run(request.reading.documents(self._faults), publish=self._pending)

    def _survey(self, store: Store) -> Survey | None:
        request = self._request
        strict = request.on_duplicate == "error" and not request.append  # appending compares contents
        surveyed = survey(request.reading.corpus, lambda: request.reading.documents([]), unique=strict)
        assert self._encoder is not None
        there = len(store.snapshot) if request.append else 0
        say_estimate(self._encoder, surveyed, there=there, max_length=store.settings.max_length)
        return surveyed

    def _fill_vectors(self, store: Store, rules: Rules, path: Path) -> AddReport:
        from lsr.vectors import open_vectors

        source = open_vectors(path, store)
        say(f"Indexing the vectors of {path.name} over {source.terms:,} terms.")
        with Progress("Indexing", None, enabled=True, unit="vectors") as progress:
            adder = Adder(store, rules, join_vectors(source.dimension), progress)
            self._tally = adder.tally
            return adder.run(source.rows(), largest=source.largest(), publish=self._pending)

    # How it ends

    def _tidy(self, store: Store, error: BaseException) -> None:
        """After an error in the input, or before the first commit, nothing of a first build stays."""
        own = self._pending and not self._request.append
        at_fault = isinstance(error, LsrError) and error.exit_code == 2
        if own and (at_fault or not self._tally.committed):
            with store.writing() as writer:
                writer.abandon_build()
            self._kept = False
        else:
            self._kept = True

    def _limit(self) -> int | None:
        limit = None if self._encoder is None else self._encoder.max_length
        return limit if self._request.max_length is None else self._request.max_length
