"""`Index`: documents in, ranked and explained hits out. The only place where an encoder and an index meet.

Adding runs an encoder and hands its batches to the writer of `lsr.index.store` (see `lsr.adding`);
searching uses the query side that the index keeps inside itself and never loads a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from lsr.asking import (
    check_id,
    check_many,
    check_search,
    locate,
    make_all_pairs,
    make_hits,
    match,
    read_queries,
    read_query,
)
from lsr.encoders.neural_queries import NeuralQueries
from lsr.encoders.protocol import Encoder, QuerySide
from lsr.encoders.queries import load_query_side
from lsr.errors import InputError
from lsr.index.store import Settings, Snapshot, Store
from lsr.index.uploads import Uploads
from lsr.types import AddReport, Explanation, Hit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from lsr.adding import OnDuplicate
    from lsr.asking import Matched, Query
    from lsr.index.rankings import Rankings

Mode = Literal["exact", "approximate"]


class Index:
    """An index on disk: many readers, one writer at a time.

    A handle sees one commit until it writes itself or calls `refresh`. Use it as a context manager, or
    call `close`. It may be shared between threads.

    Example:
        >>> import tempfile, lsr
        >>> folder = tempfile.mkdtemp()
        >>> index = lsr.Index.create(f"{folder}/notes.lsr", "bm25")
        >>> report = index.add([{"id": "1", "text": "Vaccines train the immune system."}])
        >>> [hit.id for hit in index.search("vaccine")]
        ['1']
        >>> index.close()
    """

    def __init__(self, store: Store, encoder: Encoder | None = None) -> None:
        self._open_store: Store | None = store
        self._uploads = Uploads()
        self._encoder = encoder

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: str | Encoder | None = "default",
        *,
        vocabulary: Sequence[str] | None = None,
        max_document_weight: float | None = None,
        fields: Mapping[str, str] | None = None,
        long_documents: str = "truncate",
        query_weights: Literal["corpus", "model"] | None = None,
        quantize: Literal["u8", "u16", "f32"] = "u8",
        memory: int | str | None = None,
        compress: bool = False,
        overwrite: bool = False,
    ) -> Index:
        """Makes an empty index.

        Args:
            path: A folder that is not there, or is empty.
            encoder: A bundled name, a model folder or a loaded encoder; None for vectors made elsewhere.
            vocabulary: With `encoder=None`, the name of each column.
            max_document_weight: With `encoder=None`, the weight that the largest impact stands for; None
                lets the first `add_vectors` decide by its largest weight.
            fields: Name to type of what filters will ask: `int64`, `float64`, `keyword`, `keywords`, `date`.
            long_documents: What is done with a text that the model cannot read whole: `"truncate"`.
            query_weights: `"corpus"` weighs query terms by this index's document frequencies, `"model"`
                by the model's own table; None is the encoder's choice.
            quantize: How weights are kept: in 255 steps, in 65,535, or as float32.
            memory: How much may wait in memory before it is written, as bytes or `"2GB"`.
            compress: Take a third less room for the postings, and a little more time for each search.
            overwrite: Replace an index that is there.

        Raises:
            IndexExistsError: There is an index, and `overwrite` is False.
            NotAnIndexError: The folder holds something else.
            UnknownEncoderError: No such encoder.
            InputError: An option that cannot be used.
        """
        from lsr.settings import plan_index

        plan = plan_index(
            encoder,
            vocabulary=vocabulary,
            max_document_weight=max_document_weight,
            fields=fields,
            long_documents=long_documents,
            query_weights=query_weights,
            quantize=quantize,
            memory=memory,
            compress=compress,
        )
        store = Store.create(Path(path), plan.settings, query_side=plan.query_side, overwrite=overwrite)
        return cls(store, plan.encoder)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False, encoder: Encoder | None = None) -> Index:
        """Opens an index for reading and writing.

        Args:
            path: The folder.
            verify: Check every byte first.
            encoder: The index's encoder, loaded beforehand; None loads it by name when `add`, or a query
                that a language model reads, needs it.

        Raises:
            IndexNotFoundError: There is no index.
            IndexBuildingError: Its first build has not ended.
            IndexCorruptError: A file is cut, altered or missing.
        """
        return cls(Store.open(Path(path), verify=verify), encoder)

    # What is inside

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self._store.path)

    @property
    def settings(self) -> Settings:
        """What was fixed when the index was made."""
        return self._store.settings

    @property
    def snapshot(self) -> Snapshot:
        """The commit that this handle sees."""
        return self._store.snapshot

    @cached_property
    def query_side(self) -> QuerySide:
        """What turns a query into weights; it lies inside the index."""
        data = self._store.query_side()
        if data is None:
            raise InputError("This index keeps no query side; it was made by lsr.VectorIndex.")
        side = load_query_side(data)
        if self._encoder is not None and isinstance(side, NeuralQueries):
            side.attach(self._encoder)
        return side

    def get(self, id: str) -> dict[str, Any]:
        """The stored document.

        Raises:
            DocumentNotFoundError: The index holds no document of this id.
        """
        snapshot = self.snapshot
        document: dict[str, Any] = json.loads(snapshot.stored(*locate(snapshot, check_id(id))))
        return document

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, str | int) or isinstance(id, bool):
            return False
        return bool(self.snapshot.find([check_id(id)])[0][0] >= 0)

    def __len__(self) -> int:
        return len(self.snapshot)

    # Writing

    def add(
        self,
        documents: Iterable[Mapping[str, Any]],
        on_duplicate: OnDuplicate = "error",
        *,
        progress: bool = False,
    ) -> AddReport:
        """Adds documents: one commit below 100,000, and one for each 100,000.

        A commit is all or nothing: after an error, what the last commit held is there and no more.

        Args:
            documents: An iterable of dicts with `id`, `text`, optionally `title`, and any JSON fields; it is
                read once, in batches.
            on_duplicate: What to do with an id that the index holds or that came before in the same input:
                `"error"` adds nothing, `"skip"` keeps the first, `"replace"` lets the last win.
            progress: Show it on stderr, if that is a terminal.

        Raises:
            DuplicateIdError: With `"error"`; `.ids` lists them.
            InputError: A document that cannot be used.
            EncoderMismatchError: The index's encoder is gone, or is another now.
            IndexLockedError: Another writer is at work.
        """
        from lsr.adding import add_documents

        return add_documents(
            self._store, self._encoder_for_adding(), documents, on_duplicate=on_duplicate, progress=progress
        )

    def add_vectors(
        self,
        ids: Sequence[str],
        vectors: csr_array,
        documents: Sequence[Mapping[str, Any]] | None = None,
        *,
        on_duplicate: OnDuplicate = "error",
    ) -> AddReport:
        """Adds vectors made elsewhere, by the same commit rules as `add`.

        Args:
            ids: n ids.
            vectors: scipy csr, numbers >= 0, finite, [n, dimension of the index].
            documents: n dicts to store, or None to store the ids alone.
            on_duplicate: As in `add`.

        Raises:
            InputError: Shapes or weights that cannot be used.
            DuplicateIdError: With `"error"`; `.ids` lists them.
        """
        from lsr.adding import add_vectors

        return add_vectors(self._store, ids, vectors, documents, on_duplicate=on_duplicate)

    # Searching

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        offset: int = 0,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "exact",
        overlap: float | None = None,
        threads: int = 1,
    ) -> list[Hit]:
        """The k best documents, by score descending, equal scores in the order of adding.

        Args:
            query: A text, `{"term": weight}`, or a one-row CSR of the index's dimension.
            k: How many, at least 1.
            offset: How many to leave out first.
            filter: None; filters are not there yet.
            mode: `"exact"` is brute force over the stored weights; `"approximate"` may miss some.
            overlap: With `"approximate"`, the share of the exact top k to find.
            threads: Has no effect on a single query yet.

        Returns:
            At most k hits, each with a score above 0; empty if nothing matches.

        Raises:
            QueryError: A query that cannot be used.
            UnsupportedError: There is a filter.
        """
        from lsr.index.batch_search import rank_batch

        check_search(k, offset, filter, mode, overlap, threads)
        snapshot = self.snapshot
        asked = read_queries((query,), self.query_side, self.settings, snapshot)
        found = rank_batch(snapshot, asked, int(k) + int(offset), mode=mode, overlap=overlap)
        return make_hits(snapshot, found.ranking(0), offset=int(offset))

    def search_many(
        self,
        queries: Sequence[Query],
        k: int = 100,
        *,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "exact",
        overlap: float | None = None,
        threads: int = 2,
        device: str | None = None,
    ) -> list[list[Hit]]:
        """The hits of many queries, in their order; see `search`.

        Args:
            queries: Each as `search` takes one.
            k, filter, mode, overlap: As for `search`.
            threads: How many threads share the queries; not used with a device.
            device: None, or where torch scores the batch, `"cpu"`, `"cuda"` or `"cuda:N"`: the same hits,
                exact in both modes. The postings stay there until they are merged away or the index is
                closed. Meant for large batches on a GPU.

        Raises:
            QueryError: A query that cannot be used.
            MissingExtraError: A device is given, and torch is not installed.
            InputError: There is no such device, or its memory is too small.
        """
        snapshot, rankings = self._rank_many(queries, k, filter, mode, overlap, threads, device)
        return [make_hits(snapshot, ranking) for ranking in rankings]

    def rank_many(
        self,
        queries: Sequence[Query],
        k: int = 100,
        *,
        filter: Mapping[str, Any] | None = None,
        mode: Mode = "exact",
        overlap: float | None = None,
        threads: int = 2,
        device: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Ids and scores alone, for runs and evaluation: no stored document is read. See `search_many`."""
        snapshot, rankings = self._rank_many(queries, k, filter, mode, overlap, threads, device)
        return make_all_pairs(snapshot, rankings)

    def explain(self, query: Query, id: str) -> Explanation:
        """Takes the score of one document apart, term by term.

        Raises:
            DocumentNotFoundError: The index holds no document of this id.
            QueryError: A query that cannot be used.
        """
        return self.matched(query, id).explanation

    def matched(self, query: Query, id: str) -> Matched:
        """An explanation together with the columns of its terms, for highlighting."""
        snapshot = self.snapshot
        asked = read_query(query, self.query_side, self.settings, snapshot)
        return match(snapshot, self.query_side, asked, check_id(id), self.settings.scale or 1.0)

    # The handle

    def refresh(self) -> bool:
        """Moves on to the newest commit; True if it is a newer one."""
        return self._store.refresh()

    def close(self) -> None:
        """Lets the files go; closing twice is harmless."""
        self._uploads.clear()
        if self._open_store is not None:
            self._open_store.close()
            self._open_store = None

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _store(self) -> Store:
        if self._open_store is None:
            raise InputError("This index is closed; open it again with lsr.Index.open.")
        return self._open_store

    def _encoder_for_adding(self) -> Encoder:
        from lsr.settings import encoder_of

        self._encoder = encoder_of(self.settings, self._encoder)
        return self._encoder

    def _rank_many(
        self,
        queries: Sequence[Query],
        k: int,
        filter: Mapping[str, Any] | None,
        mode: Mode,
        overlap: float | None,
        threads: int,
        device: str | None,
    ) -> tuple[Snapshot, Rankings]:
        from lsr.index.batch_search import rank_batch

        check_search(k, 0, filter, mode, overlap, threads)
        snapshot, side, settings = self.snapshot, self.query_side, self.settings
        asked = read_queries(check_many(queries), side, settings, snapshot)
        if device is None:
            return snapshot, rank_batch(snapshot, asked, int(k), threads, mode=mode, overlap=overlap)
        from lsr.index.device import search_many as search_on

        queries = asked.split()
        found = search_on(
            snapshot, queries, int(k), device, uploads=self._uploads, mode=mode, overlap=overlap
        )
        return snapshot, found
