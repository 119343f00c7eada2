"""Queries by id: BEIR's `queries.jsonl`, or two columns."""

from __future__ import annotations

from pathlib import Path

from lsr.data.canonical import normalise_document, quote
from lsr.data.delimited import tsv_rows
from lsr.data.jsonl import jsonl_rows
from lsr.data.lines import open_bytes
from lsr.data.rows import Selection
from lsr.errors import InputError


def read_queries(path: str | Path) -> dict[str, str]:
    """Reads queries: JSONL if the name ends in `.jsonl` (or `.jsonl.gz`), else `id<TAB>text` lines.

    Args:
        path: The file; `.gz` is unpacked. JSONL rows have an id (`_id` or `id`) and a `text`.

    Returns:
        Texts by id, in the order of the file. A text may be empty; such a query finds nothing.

    Raises:
        InputFileError: The file is not there or cannot be read.
        InputError: A line is no query, an id comes twice, or there is no query at all.
    """
    name = str(path)
    queries: dict[str, str] = {}
    bare = name.lower().removesuffix(".gz")
    with open_bytes(Path(path), name) as stream:
        rows = jsonl_rows(stream, name) if bare.endswith(".jsonl") else tsv_rows(stream, name, Selection())
        for row in rows:
            if isinstance(row, InputError):
                raise row
            try:
                query = normalise_document(row.fields)
            except InputError as error:
                raise InputError(f"{row.where}: the query cannot be used: {error}") from None
            if query["id"] in queries:
                raise InputError(
                    f"{row.where}: the query id {quote(query['id'])} comes twice; give each query its own."
                )
            queries[query["id"]] = query["text"]
    if not queries:
        raise InputError(f"{name} holds no query; a line is id<TAB>text, or JSON with _id and text.")
    return queries
