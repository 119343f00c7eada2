"""`lsr demo`: the newcomer's first minute."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsr.cli import show
from lsr.cli.failures import Interrupted, one_line
from lsr.cli.options import announce_compiling, common_options, json_option, print_json

if TYPE_CHECKING:
    from lsr.demo import Demo, Found, Shown, System


@click.command("demo", short_help="Build and search a small real corpus: the first minute.")
@click.option(
    "--index",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the indexes there (else they go with the demo).",
)
@click.option("--overwrite", is_flag=True, help="Replace the indexes that an earlier demo left in DIR.")
@json_option
@common_options
def command(directory: Path | None, overwrite: bool, as_json: bool) -> None:
    """Index a small real corpus and search it beside BM25.

    About 1,000 pages of tldr, the short manuals of command line programs, and 64 questions in a person's
    words, written and judged before any search. Everything is computed here and now, and takes less
    than a minute.

    \b
    Example:
      lsr demo
      lsr demo --index demo && lsr search demo/demo.lsr "find large files" --explain
    """
    from lsr.progress import say

    announce_compiling()
    say("Indexing the demo corpus twice on one engine: by the learned encoder, and by BM25.")
    try:
        demo = _run(directory, overwrite)
    except KeyboardInterrupt:
        kept = f"; what is in {directory} stays" if directory else ""
        raise Interrupted(f"Stopped{kept}.") from None
    if as_json:
        print_json(_as_json(demo))
    else:
        _print(demo, directory)


def _run(directory: Path | None, overwrite: bool) -> Demo:
    from lsr.demo import run_demo

    if directory is not None:
        return run_demo(directory, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="lsr-demo-", ignore_cleanup_errors=True) as folder:
        return run_demo(Path(folder))


# For people


def _print(demo: Demo, directory: Path | None) -> None:
    room = show.width()
    click.echo()
    click.echo(
        show.strong(f"{demo.documents:,} pages, {demo.questions} questions, two encoders on one engine")
    )
    click.echo(
        f"{show.word('words')} stand in the page; {show.learned('learned')} terms were added by the encoder; "
        f"{_tick(True)} answers the question"
    )
    for number, shown in enumerate(demo.shown, 1):
        _print_question(number, shown, demo.systems, room)
    _print_summary(demo, room)
    _print_next(directory)


def _print_question(number: int, shown: Shown, systems: tuple[System, ...], room: int) -> None:
    click.echo()
    rule = "─" if show.fancy() else "-"
    click.echo(show.dim(rule * room))
    click.echo(f"{show.strong(f'{number}. {one_line(shown.question)}')}  {show.dim(f'({shown.why})')}")
    click.echo()
    half = (room - 4) // 2
    heads = [f"{system.name}  NDCG@10 {ndcg:.2f}" for system, ndcg in zip(systems, shown.ndcg, strict=True)]
    click.echo(f"  {show.dim(show.pad(heads[0], half))}  {show.dim(show.fit(heads[1], half))}")
    for rank in range(max(map(len, shown.hits))):
        sides = [_side(hits[rank] if rank < len(hits) else None, rank + 1, half) for hits in shown.hits]
        click.echo(f"  {sides[0]}  {sides[1]}".rstrip())
    click.echo()
    best = next((found for found in shown.hits[0] if found.relevant), next(iter(shown.hits[0]), None))
    if best is not None:
        click.echo(f"  {show.dim('Why')} {show.strong(_title(best))}{show.dim(':')}")
        for line in show.body(best.snippet, "    ", room):
            click.echo(line)
        for line in show.terms_line(best.matched.explanation, "    ", room):
            click.echo(line)


def _side(found: Found | None, rank: int, room: int) -> str:
    if found is None:
        return " " * room
    title = show.pad(_title(found), room - 14)
    painted = click.style(title, fg="green", bold=True) if found.relevant else title
    return f"{rank} {_tick(found.relevant)} {painted} {found.hit.score:8.2f} "


def _tick(relevant: bool) -> str:
    if not relevant:
        return " "
    return click.style("✓" if show.fancy() else "*", fg="green", bold=True)


def _title(found: Found) -> str:
    return str(found.hit.document.get("title") or found.hit.id)


def _print_summary(demo: Demo, room: int) -> None:
    from lsr.progress import duration

    rule = "─" if show.fancy() else "-"
    click.echo()
    click.echo(show.dim(rule * room))
    click.echo(show.strong(f"All {demo.questions} questions"))
    click.echo()
    click.echo(
        show.dim(f"  {'':<12}{'NDCG@10':>8}  {'':<24}{'built in':>10}{'a question':>13}{'on disk':>10}")
    )
    for system in demo.systems:
        scale = show.pad(show.bar(system.ndcg_at_10, 22), 24)
        click.echo(
            f"  {show.pad(system.name, 11)} {show.strong(f'{system.ndcg_at_10:8.3f}')}  "
            + click.style(scale, fg="cyan" if system is demo.systems[0] else "yellow")
            + f"{duration(system.build_seconds):>10}{system.milliseconds:>10.2f} ms"
            f"{system.index_bytes / 1e6:>7.1f} MB"
        )
    equal = demo.questions - demo.better - demo.worse
    click.echo()
    click.echo(
        f"  {demo.systems[0].name} is better on {demo.better} questions, equal on {equal}, worse on "
        f"{demo.worse}. The demo took {duration(demo.seconds)}."
    )


def _print_next(directory: Path | None) -> None:
    click.echo()
    click.echo(show.strong("On your own files"))
    commands = [
        ("lsr index notes.jsonl --index notes.lsr", 'a line each: {"id": "1", "text": "…"}'),
        ('lsr search notes.lsr "your question" --explain', "hits, and why"),
        ("lsr index --help", "CSV, TSV, text files, BEIR folders"),
    ]
    if directory is not None:
        commands.insert(0, (f'lsr search {directory / "demo.lsr"} "find large files"', "this demo's index"))
    for command_line, note in commands:
        text = note if show.fancy() else note.replace("…", "...")
        click.echo(f"  {command_line:<48} {show.dim('# ' + text)}")


# For programs


def _as_json(demo: Demo) -> dict[str, Any]:
    return {
        "version": 1,
        "documents": demo.documents,
        "questions": demo.questions,
        "seconds": demo.seconds,
        "better": demo.better,
        "worse": demo.worse,
        "systems": [
            {
                "system": system.name,
                "ndcg_at_10": system.ndcg_at_10,
                "build_seconds": system.build_seconds,
                "milliseconds": system.milliseconds,
                "index_bytes": system.index_bytes,
            }
            for system in demo.systems
        ],
        "shown": [_question_as_json(shown, demo.systems) for shown in demo.shown],
    }


def _question_as_json(shown: Shown, systems: tuple[System, ...]) -> dict[str, Any]:
    results = zip(systems, shown.ndcg, shown.first, shown.hits, strict=True)
    return {
        "question": shown.question,
        "why": shown.why,
        "results": [
            {
                "system": system.name,
                "ndcg_at_10": ndcg,
                "first_relevant_rank": first,
                "hits": [_hit_as_json(rank, found) for rank, found in enumerate(hits, 1)],
            }
            for system, ndcg, first, hits in results
        ],
    }


def _hit_as_json(rank: int, found: Found) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "rank": rank,
        "id": found.hit.id,
        "score": found.hit.score,
        "relevant": found.relevant,
        "document": found.hit.document,
        "explanation": [asdict(term) for term in found.matched.explanation.terms],
    }
