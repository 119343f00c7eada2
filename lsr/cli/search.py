"""`lsr search`: one query to hits, or a file of queries to a TREC run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lsr.cli.options import announce_compiling, common_options, index_argument, json_option, print_json
from lsr.errors import InputError, QueryError

if TYPE_CHECKING:
    from lsr.api import Index
    from lsr.types import Hit, TermContribution

RUN_DEPTH = 1_000
HITS = 10


@click.command("search", short_help="Search an index: one query, or a file of them as a TREC run.")
@index_argument
@click.argument("query", metavar="[QUERY]", required=False)
@click.option("--vector", metavar="JSON", help="Term weights instead of a text: '{\"term\": 1.2}'.")
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Many queries: BEIR queries.jsonl[.gz], or id<TAB>text.",
)
@click.option(
    "--run", "run_file", type=click.Path(path_type=Path), metavar="OUT.trec", help="Where their run goes."
)
@click.option("-k", type=click.IntRange(min=1), metavar="N", help="How many hits [default: 10; runs: 1000].")
@click.option(
    "--mode",
    type=click.Choice(["exact", "approximate"]),
    default="exact",
    show_default=True,
    help="Approximate may leave out hits to be faster.",
)
@click.option(
    "--overlap",
    type=float,
    metavar="SHARE",
    help="With --mode approximate: the share of the exact hits to find, as 0.98.",
)
@click.option("--filter", "expression", metavar="EXPR", help="Not there yet.")
@click.option("--explain", is_flag=True, help="Take each score apart, term by term.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="For --queries."
)
@json_option
@common_options
def command(
    directory: Path,
    query: str | None,
    vector: str | None,
    queries: Path | None,
    run_file: Path | None,
    k: int | None,
    mode: Literal["exact", "approximate"],
    overlap: float | None,
    expression: str | None,
    explain: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Search an index.

    Words of the text that matched are shown apart from the terms that the encoder learned to add.

    \b
    Example:
      lsr search papers.lsr "how do vaccines work" --explain
      lsr search papers.lsr "how do vaccines work" -k 3 --json
      lsr search papers.lsr --vector '{"vaccin": 1.2, "immun": 0.4}'
      lsr search papers.lsr --queries queries.jsonl --run papers.trec
    """
    if sum(part is not None for part in (query, vector, queries)) != 1:
        raise InputError("Give one of QUERY, --vector and --queries; see lsr search --help.")
    if (queries is None) != (run_file is None):
        raise InputError("--queries FILE and --run OUT.trec go together.")
    options: dict[str, Any] = {"mode": mode, "overlap": overlap}
    if expression is not None:
        options["filter"] = {"expression": expression}
    from lsr.api import Index

    announce_compiling()
    with Index.open(directory) as index:
        if queries is not None and run_file is not None:
            if explain:
                raise InputError("--explain goes with a single query; a run holds ids and scores alone.")
            _write_run(index, queries, run_file, k or RUN_DEPTH, {**options, "threads": threads}, as_json)
            return
        asked = _read_vector(vector) if vector is not None else query or ""
        _search(index, asked, k or HITS, options, explain=explain, as_json=as_json)


def _read_vector(text: str) -> dict[str, float]:
    try:
        vector = json.loads(text)
    except (ValueError, RecursionError):
        raise QueryError("--vector is no JSON; write it like '{\"term\": 1.2}'.") from None
    if not isinstance(vector, dict):
        raise QueryError("--vector is an object of terms and weights, like '{\"term\": 1.2}'.")
    return vector


def _search(
    index: Index,
    query: str | dict[str, float],
    k: int,
    options: dict[str, Any],
    *,
    explain: bool,
    as_json: bool,
) -> None:
    started = time.perf_counter()
    hits = index.search(query, k, **options)
    seconds = time.perf_counter() - started
    if as_json:
        print_json([_as_json(index, query, rank, hit, explain) for rank, hit in enumerate(hits, 1)])
    else:
        _show(index, query, hits, seconds, explain=explain)


def _as_json(
    index: Index, query: str | dict[str, float], rank: int, hit: Hit, explain: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {"rank": rank, "id": hit.id, "score": hit.score, "document": hit.document}
    if explain:
        found["explanation"] = [_term(term) for term in index.explain(query, hit.id).terms]
    return found


def _term(term: TermContribution) -> dict[str, Any]:
    return {
        "term": term.term,
        "kind": term.kind,
        "query_weight": term.query_weight,
        "document_weight": term.document_weight,
        "contribution": term.contribution,
    }


def _show(
    index: Index, query: str | dict[str, float], hits: list[Hit], seconds: float, *, explain: bool
) -> None:
    from lsr.cli import show
    from lsr.highlight import Highlighter

    room = show.width()
    highlighter = Highlighter(index.query_side)
    indent = " " * 15
    for rank, hit in enumerate(hits, 1):
        matched = index.matched(query, hit.id)
        click.echo(show.heading(rank, hit, room))
        snippet = highlighter.snippet(show.text_of(hit), matched, 2 * (room - len(indent)) - 8)
        lines = show.body(snippet, indent, room) if snippet.text else []
        lines += (
            show.terms_table(matched.explanation, indent, room)
            if explain
            else show.terms_line(matched.explanation, indent, room)
        )
        click.echo("\n".join(lines))
        click.echo()
    if not hits:
        click.echo("Nothing matches.")
    count = f"{len(hits)} hit{'s' if len(hits) != 1 else ''}" if hits else "no hits"
    click.echo(show.dim(f"{count} of {len(index):,} documents in {seconds * 1000:.0f} ms, loading included"))


def _write_run(
    index: Index, queries: Path, run_file: Path, k: int, options: dict[str, Any], as_json: bool
) -> None:
    from lsr.data.runs import read_queries, write_run
    from lsr.eval.runfile import strictly_falling
    from lsr.progress import Progress

    asked = read_queries(queries)
    names = list(asked)
    started = time.perf_counter()
    ranking: dict[str, list[tuple[str, float]]] = {}
    with Progress("Searching", len(names), enabled=True, unit="queries") as progress:
        for start in range(0, len(names), 64):
            part = names[start : start + 64]
            found = index.rank_many([asked[name] for name in part], k, **options)
            ranking.update(zip(part, map(strictly_falling, found), strict=True))
            progress.advance(len(part))
    seconds = time.perf_counter() - started
    write_run(run_file, ranking, tag=Path(index.settings.encoder_name or "lsr").name)
    lines = sum(map(len, ranking.values()))
    if as_json:
        print_json({"queries": len(names), "lines": lines, "run": str(run_file), "seconds": seconds})
        return
    click.echo(f"Wrote {lines:,} lines for {len(names):,} queries to {run_file} in {seconds:.1f} s.")
