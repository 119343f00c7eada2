"""`lsr encode`: the vectors of documents or queries to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from lsr.cli.failures import Interrupted, tell_faults
from lsr.cli.options import (
    common_options,
    encoding_options,
    json_option,
    length_option,
    memory_option,
    print_json,
    reading_options,
)
from lsr.errors import InputError

if TYPE_CHECKING:
    from lsr.encoding import Encoded, Texts


@click.command("encode", short_help="Write the vectors of documents or queries to a file.")
@click.argument("corpus", metavar="CORPUS...", nargs=-1, required=True)
@click.option(
    "--encoder",
    metavar="NAME",
    default="default",
    show_default=True,
    help="A bundled name or a model folder.",
)
@click.option(
    "--output",
    metavar="FILE",
    required=True,
    help="A .jsonl (or .jsonl.gz), a .npz (beside it X.ids.txt and X.vocabulary.txt), a .parquet, or - for "
    "JSONL on standard output.",
)
@click.option("--query", is_flag=True, help="CORPUS holds queries; encode them by the query side.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@reading_options
@encoding_options
@length_option
@memory_option
@json_option
@common_options
def command(
    corpus: tuple[str, ...],
    encoder: str,
    output: str,
    query: bool,
    overwrite: bool,
    id_field: str | None,
    text_fields: tuple[str, ...],
    on_error: Literal["stop", "skip"],
    batch_size: int | None,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "fast"],
    max_length: int | None,
    memory: str | None,
    as_json: bool,
) -> None:
    """Write the vectors of documents or queries to a file.

    CORPUS is what `lsr index` takes; with --query, files of queries (BEIR queries.jsonl[.gz], or
    id<TAB>text) or BEIR folders. The vectors appear under their name when all are written. lsr index
    --vectors reads .jsonl and .npz.

    \b
    Example:
      lsr encode papers.jsonl --output papers.npz
      lsr encode papers.jsonl --encoder my-model --output papers.jsonl.gz --json
      lsr encode queries.tsv --query --output queries.parquet
      lsr encode papers.jsonl --output - | head -1
    """
    if as_json and output == "-":
        raise InputError("--json and --output - both print on standard output; give --output a file.")
    if query and (id_field or text_fields or on_error != "stop" or max_length):
        raise InputError(
            "--id-field, --text-field, --on-error skip and --max-length go with documents; leave them out."
        )
    from lsr.building import Reading
    from lsr.encoding import DocumentTexts, EncodeRequest, QueryTexts, encode_to_file

    try:
        texts: Texts
        if query:
            texts = QueryTexts(corpus)
        else:
            texts = DocumentTexts(Reading(corpus, id_field, text_fields, on_error), max_length)
        done = encode_to_file(
            EncodeRequest(texts, output, encoder, overwrite, batch_size, device, precision, memory)
        )
    except KeyboardInterrupt:
        kept = "what was printed is not all" if output == "-" else f"{output} is as it was before"
        raise Interrupted(f"Stopped; {kept}.") from None
    tell_faults(done.faults)
    if as_json:
        print_json(_as_json(done))
    else:
        _print(done)


def _as_json(done: Encoded) -> dict[str, Any]:
    each = "terms_per_document" if done.unit == "documents" else "terms_per_query"
    found: dict[str, Any] = {
        done.unit: done.texts,
        each: done.terms_each,
        "empty": done.empty,
        "seconds": done.seconds,
        "files": [str(file) for file in done.files],
        "encoder": done.encoder,
        "fingerprint": done.fingerprint,
        "max_document_weight": done.max_document_weight,
    }
    if done.unit == "documents":
        found["truncated"] = done.truncated
    if done.faults:
        found["unreadable"] = len(done.faults)
    return found


def _print(done: Encoded) -> None:
    """For people: on stdout, or on stderr where the vectors went to stdout."""
    from lsr.cli.show import dim, strong
    from lsr.progress import duration, say

    rate = f", {done.texts / done.seconds:,.0f} a second" if done.texts and done.seconds > 0.05 else ""
    what = done.unit if done.texts != 1 else {"documents": "document", "queries": "query"}[done.unit]
    line = (
        f"Encoded {done.texts:,} {what} in {duration(done.seconds)}{rate}: {done.terms_each:.1f} terms each."
    )
    if not done.files:
        say(line)
        return
    click.echo(strong(line))
    for file in done.files:
        click.echo(f"  {file.stat().st_size:>15,}  bytes in {file}")
    click.echo(f"  {done.terms_each:>15.1f}  terms in each, on average")
    notes = [
        (len(done.faults), "left out, as they could not be read"),
        (done.empty, "without any term"),
        (done.truncated, f"longer than the {done.max_length} word pieces that the model reads"),
    ]
    for count, note in notes:
        if count:
            click.echo(f"  {count:>15,}  {note}")
    if done.unit == "documents" and done.files[0].suffix != ".parquet":
        scale = f" --max-document-weight {done.max_document_weight:g}" if done.max_document_weight else ""
        click.echo(dim(f"Try: lsr index --vectors {done.files[0]} --index DIR{scale}"))
