"""`lsr add`: more documents into an index."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lsr.cli.options import (
    common_options,
    duplicate_option,
    encoding_options,
    index_argument,
    json_option,
    reading_options,
)


@click.command("add", short_help="Add documents to an index.")
@index_argument
@click.argument("corpus", metavar="CORPUS...", nargs=-1, required=True)
@reading_options
@duplicate_option
@encoding_options
@json_option
@common_options
def command(
    directory: Path,
    corpus: tuple[str, ...],
    id_field: str | None,
    text_fields: tuple[str, ...],
    on_error: Literal["stop", "skip"],
    on_duplicate: Literal["error", "skip", "replace"],
    batch_size: int | None,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "fast"],
    as_json: bool,
) -> None:
    """Add documents to an index, by the encoder that made it.

    All or nothing: up to 100,000 documents are one commit, and an error leaves the index as it was.

    \b
    Example:
      lsr add papers.lsr new.jsonl
      lsr add papers.lsr corrected.jsonl --on-duplicate replace
      cat new.jsonl | lsr add papers.lsr -
    """
    from lsr.building import Reading, Request
    from lsr.cli.index import report

    request = Request(
        path=directory,
        reading=Reading(corpus, id_field, text_fields, on_error),
        adding=True,
        on_duplicate=on_duplicate,
        batch_size=batch_size,
        device=device,
        precision=precision,
        commit_seconds=None,
    )
    report(request, as_json=as_json, verb="Added")
