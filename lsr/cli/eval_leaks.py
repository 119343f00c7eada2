"""`lsr eval leaks`: whether training sets hold queries or documents of evaluation sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsr.cli.options import common_options, json_option, print_json
from lsr.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from lsr.eval.leak_report import LeakReport

_SHOWN = 10


class ManyAfterAgainst(click.Command):
    """A command whose `--against` takes all names up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts `--against` before each name that follows one."""
        return super().parse_args(ctx, list(_repeat_against(args)))


def _repeat_against(args: list[str]) -> Iterator[str]:
    names: int | None = None  # how many followed the last --against; None outside of one
    for position, word in enumerate(args):
        if word == "--":
            yield from args[position:]
            return
        if word.startswith("-") and word != "-":
            names = 0 if word == "--against" else None
        elif names is not None:
            if names:
                yield "--against"
            names += 1
        yield word


@click.command("leaks", cls=ManyAfterAgainst, short_help="Find evaluation texts in training sets.")
@click.argument("training", metavar="TRAIN...", nargs=-1, required=True)
@click.option(
    "--against",
    metavar="DATASET...",
    multiple=True,
    required=True,
    help="Evaluation sets (all names up to the next option): their judged queries and documents are looked "
    "for.",
)
@click.option(
    "--threshold",
    type=float,
    metavar="SHARE",
    default=0.8,
    show_default=True,
    help="The least similarity that counts.",
)
@click.option("--split", metavar="SPLIT", default="test", show_default=True, help="Which judged queries.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where sets are found by name (else the folder that LSR_DATA names).",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    default=1000,
    show_default=True,
    help="Pairs listed for a training set, an evaluation set and a kind; all are counted.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the report there, as JSON."
)
@json_option
@common_options
def command(
    training: tuple[str, ...],
    against: tuple[str, ...],
    threshold: float,
    split: str,
    data_dir: Path | None,
    limit: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find queries and documents of evaluation sets in training sets, near-equal ones too.

    A TRAIN is a BEIR folder, the name of one in the data directory, or whatever lsr index reads; a
    DATASET is what lsr eval beir takes. Memory grows with the evaluation sets alone (about 3 kB a
    document) and with the queries of one training set; training documents are streamed.

    \b
    Example:
      lsr eval leaks train.jsonl --against scifact --data-dir data
      lsr eval leaks medquad pubmedqa --against scifact nfcorpus --data-dir data --output leaks.json
    """
    from lsr.eval.leaks import find_leaks

    if output is not None:
        _check_writable(output)
    report = find_leaks(
        training,
        against=against,
        threshold=threshold,
        split=split,
        data_dir=data_dir,
        limit=limit,
        progress=True,
    )
    if output is not None:
        _write(output, report.to_json())
    if as_json:
        print_json(report.to_json())
    else:
        _print(report, str(output) if output else None)


def _check_writable(path: Path) -> None:
    """A file that cannot be written is told before anything is read."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: name a file in a folder that is there with --output.")


def _write(path: Path, value: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another --output.") from error


def _print(report: LeakReport, output: str | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    if report.counts:
        _print_counts(report, console)
        _print_leaks(report, console, output)
    else:
        console.print(f"Nothing found at a similarity of {report.threshold:g} or more.")
    console.print(_summary(report), style="dim")


def _print_counts(report: LeakReport, console: Console) -> None:
    from rich.table import Table

    from lsr.cli.failures import one_line

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("training set", "evaluation set", "kind"):
        table.add_column(heading, overflow="fold")
    for heading in ("pairs", "training\ntexts", "evaluation\ntexts"):
        table.add_column(heading, justify="right", no_wrap=True)
    for count in report.counts:
        numbers = (count.pairs, count.training_texts, count.evaluation_texts)
        names = (one_line(count.training), one_line(count.evaluation), count.kind)
        table.add_row(*names, *(f"{number:,}" for number in numbers))
    console.print(table)
    console.print()


def _print_leaks(report: LeakReport, console: Console, output: str | None) -> None:
    """The most similar pairs of each group."""
    from lsr.cli.failures import one_line

    shown: dict[tuple[str, str, str], int] = {}
    for leak in report.leaks:
        group = (leak.training, leak.evaluation, leak.kind)
        shown[group] = shown.get(group, 0) + 1
        if shown[group] > _SHOWN:
            continue
        pair = f"{leak.training} {leak.training_id} ~ {leak.evaluation} {leak.evaluation_id}"
        console.print(one_line(f"{leak.similarity:.2f} {leak.kind}: {pair}"))
        console.print(f"      {one_line(leak.training_text)}", style="dim", overflow="ellipsis", no_wrap=True)
        console.print(
            f"      {one_line(leak.evaluation_text)}", style="dim", overflow="ellipsis", no_wrap=True
        )
    left = report.pairs - sum(min(count, _SHOWN) for count in shown.values())
    if left:
        where = f"in {output}" if output else "with --json or --output"
        console.print(f"and {left:,} more pairs; see them {where}.")
    console.print()


def _summary(report: LeakReport) -> str:
    from lsr.progress import duration

    parts = []
    for role in ("training", "evaluation"):
        sets = [each for each in report.sets if each.role == role]
        queries, documents = (sum(getattr(each, name) for each in sets) for name in ("queries", "documents"))
        parts.append(f"{queries:,} queries and {documents:,} documents of {role} sets")
    peak = f", {report.peak_mb:,.0f} MB at the most" if report.peak_mb else ""
    return (
        f"{' against '.join(parts)} in {duration(report.seconds)} with {report.index_mb:,.0f} MB of "
        f"tables{peak}. A pair exactly at the threshold is missed with a chance of {report.missed:.1g}."
    )
