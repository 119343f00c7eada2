"""`lsr eval run`: what runs that anything made are worth, and whether they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lsr.cli.failures import one_line
from lsr.cli.options import common_options, json_option, print_json
from lsr.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from lsr.eval.run_comparison import RunPair, RunsReport

_SHOWN_CHANGES = 3
_HEADINGS = {
    "ndcg_at_10": "NDCG\n@10",
    "recall_at_100": "recall\n@100",
    "mrr_at_10": "MRR\n@10",
    "recall_at_1000": "recall\n@1000",
    "map": "MAP",
}


@click.command("run", short_help="Measure TREC runs, and test whether they differ.")
@click.argument("qrels", metavar="QRELS", type=click.Path(path_type=Path))
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--compare", is_flag=True, help="Test every pair of runs, query by query.")
@click.option(
    "--measure",
    type=click.Choice(list(_HEADINGS)),
    help="What --compare goes by (else ndcg_at_10).",
)
@click.option(
    "--own-id",
    type=click.Choice(["drop", "keep"]),
    default="drop",
    show_default=True,
    help="What to do with a document that has the id of its query: BEIR drops it, trec_eval keeps it.",
)
@click.option(
    "--per-query",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write the measures of every query there, a line a query and run.",
)
@json_option
@common_options
def command(
    qrels: Path,
    runs: tuple[Path, ...],
    compare: bool,
    measure: str | None,
    own_id: Literal["drop", "keep"],
    per_query: Path | None,
    as_json: bool,
) -> None:
    """Measure TREC runs, whatever made them, and test whether they differ.

    QRELS are judgements in the four columns of TREC or the three of BEIR, a RUN has the six columns of
    TREC; either may be .gz. Every judged query counts, and equal scores are ordered by document id
    downwards, as trec_eval -c does.

    \b
    Example:
      lsr eval run qrels/test.tsv bm25.trec
      lsr eval run qrels.txt bm25.trec splade.trec --compare
      lsr eval run qrels.txt bm25.trec splade.trec --compare --measure map --json
    """
    if measure is not None and not compare:
        raise InputError("--measure says what pairs are compared by; give --compare too, or leave it out.")
    from lsr.eval.run_comparison import measure_runs, write_query_lines

    report = measure_runs(
        qrels, runs, compared_by=(measure or "ndcg_at_10") if compare else None, own_id=own_id
    )
    if per_query is not None:
        write_query_lines(report, per_query)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)


def _print(report: RunsReport) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 100
    console.print(_quality(report))
    if report.pairs:
        console.print()
        console.print(_pairs(report))
        for pair in report.pairs:
            console.print(_changes(pair), style="dim")
        console.print()
        console.print(
            "p: paired randomisation test, 100,000 draws, two-sided; Holm: p corrected over all pairs shown; "
            "t: paired t-test. The interval holds 95 % of 10,000 bootstrap means.",
            style="dim",
        )
    for note in report.notes:
        console.print(one_line(note), style="dim")


def _quality(report: RunsReport) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    for heading in (*_HEADINGS.values(), "queries"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in report.runs:
        values = [f"{getattr(run.mean, name):.4f}" for name in _HEADINGS]
        table.add_row(one_line(run.system), *values, f"{report.queries:,}")
    return table


def _pairs(report: RunsReport) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    name = " ".join(_HEADINGS[report.measure].split("\n")).replace(" @", "@")
    table.add_column("run\nagainst", overflow="fold")
    for heading in (f"{name}\ndifference", "95 %\ninterval", "p", "Holm", "t", "better/\ntied/worse"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in report.pairs:
        found = pair.comparison
        table.add_row(
            f"{one_line(pair.system)}\n{one_line(pair.baseline)}",
            f"{found.mean_difference:+.4f}",
            f"{found.low:+.4f}\n{found.high:+.4f}",
            *(_p(p) for p in (found.p, found.p_holm, found.t_p)),
            f"{found.better}/\n{found.ties}/{found.worse}",
        )
    return table


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}" if p >= 1e-4 else "<0.0001"


def _changes(pair: RunPair) -> str:
    shown = pair.changed[:_SHOWN_CHANGES]
    if not shown:
        return one_line(f"{pair.system} and {pair.baseline} differ on no query.")
    listed = ", ".join(f"{item.query_id} {item.value - item.baseline_value:+.4f}" for item in shown)
    return one_line(f"{pair.system} against {pair.baseline} differs most on {listed}.")
