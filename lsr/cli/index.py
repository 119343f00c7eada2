"""`lsr index`: documents, or vectors made elsewhere, to an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lsr.cli.failures import Interrupted, tell_faults
from lsr.cli.options import (
    announce_compiling,
    common_options,
    corpus_argument,
    duplicate_option,
    encoding_options,
    json_option,
    length_option,
    memory_option,
    print_json,
    reading_options,
)
from lsr.errors import InputError

if TYPE_CHECKING:
    from lsr.building import Built, Request


@click.command("index", short_help="Build an index from documents, or from vectors made elsewhere.")
@corpus_argument
@click.option(
    "--index", "path", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Where it goes."
)
@click.option("--encoder", metavar="NAME", help="A bundled name or a model folder [default: default].")
@click.option("--overwrite", is_flag=True, help="Replace an index that is there.")
@click.option("--append", is_flag=True, help="Go on: add what is not there yet, or resume a killed build.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Vectors instead of CORPUS: JSONL of {"id", "vector"}, or X.npz beside X.ids.txt, X.vocabulary.txt.',
)
@click.option(
    "--max-document-weight",
    type=float,
    metavar="W",
    help="With --vectors: the weight that scales the index, as lsr encode reports it [default: the largest].",
)
@reading_options
@duplicate_option
@encoding_options
@length_option
@memory_option
@click.option("--compress", is_flag=True, help="Take a third less room, and a little more time to search.")
@json_option
@common_options
def command(
    corpus: tuple[str, ...],
    path: Path,
    encoder: str | None,
    overwrite: bool,
    append: bool,
    vectors: Path | None,
    max_document_weight: float | None,
    id_field: str | None,
    text_fields: tuple[str, ...],
    on_error: Literal["stop", "skip"],
    on_duplicate: Literal["error", "skip", "replace"],
    batch_size: int | None,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "fast"],
    max_length: int | None,
    memory: str | None,
    compress: bool,
    as_json: bool,
) -> None:
    """Build an index.

    CORPUS is a BEIR folder, a file (.jsonl .tsv .csv .parquet .txt, or any of them .gz), a folder of
    files, or - for JSONL on stdin. A document has an id, a text, and optionally a title. The build
    commits as it goes: killed, the same command with --append goes on.

    \b
    Example:
      lsr index papers.jsonl --index papers.lsr
      lsr index papers.jsonl --index papers.lsr --append
      lsr index table.csv --index table.lsr --id-field key --text-field name --text-field notes
      lsr index --vectors splade.jsonl --index splade.lsr
      lsr index --vectors papers.npz --index papers.lsr --max-document-weight 4.15
    """
    if bool(corpus) == (vectors is not None):
        raise InputError("Give a CORPUS or --vectors FILE, one of them; see lsr index --help.")
    if vectors is not None and encoder is not None:
        raise InputError("--vectors brings its own vectors; leave --encoder out.")
    if vectors is None and max_document_weight is not None:
        raise InputError("--max-document-weight goes with --vectors; an encoder brings its own.")
    from lsr.building import Reading, Request

    request = Request(
        path=path,
        reading=Reading(corpus, id_field, text_fields, on_error),
        vectors=vectors,
        encoder=encoder,
        append=append,
        overwrite=overwrite,
        on_duplicate=on_duplicate,
        batch_size=batch_size,
        max_length=max_length,
        device=device,
        precision=precision,
        memory=memory,
        compress=compress,
        max_document_weight=max_document_weight,
    )
    report(request, as_json=as_json, verb="Indexed")


def report(request: Request, *, as_json: bool, verb: str) -> None:
    """Runs a build and prints what it made."""
    from lsr.building import Build

    announce_compiling()
    build = Build(request)
    try:
        built = build.run()
    except KeyboardInterrupt:
        raise Interrupted(build.what_is_kept()) from None
    tell_faults(built.faults)
    if as_json:
        _print_as_json(built)
    else:
        _print(built, request.path, verb)


def _print_as_json(built: Built) -> None:
    from dataclasses import asdict

    found = {**asdict(built.report), "documents": built.documents, "segments": built.segments}
    if built.faults:
        found["unreadable"] = len(built.faults)
    print_json(found)


def _print(built: Built, path: Path, verb: str) -> None:
    from lsr.cli.show import dim, strong
    from lsr.progress import duration

    done = built.report
    changed = done.added + done.replaced
    rate = f", {changed / done.seconds:,.0f} a second" if changed and done.seconds > 0.05 else ""
    click.echo(strong(f"{verb} {_count(changed, 'document')} in {duration(done.seconds)}{rate}."))
    click.echo(f"{path} holds {_count(built.documents, 'document')} in {_count(built.segments, 'segment')}.")
    notes = [
        (done.replaced, "took the place of an older one of the same id"),
        (done.skipped, "left out, as their ids are there already"),
        (len(built.faults), "left out, as they could not be read"),
        (done.empty, "without any term; they are kept, and no query finds them"),
        (done.truncated, f"longer than the {built.max_length} word pieces that the model reads"),
    ]
    for count, what in notes:
        if count:
            click.echo(f"  {count:>9,}  {what}")
    if done.clipped:
        click.echo(f"  {done.clipped:>9,}  weights above the largest of the index, kept as the largest")
    ask = "--vector '{\"term\": 1}'" if built.encoder is None else '"your question"'
    click.echo(dim(f"Try: lsr search {path} {ask} --explain"))


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
