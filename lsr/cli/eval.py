"""`lsr eval`: how well systems find what people judged relevant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lsr.cli.options import common_options, json_option, print_json

if TYPE_CHECKING:
    from lsr.eval.report import EvaluationReport


@click.group("eval", short_help="Measure how well a system finds what was judged relevant.")
@common_options
def command() -> None:
    """Measure how well a system finds what was judged relevant.

    \b
    Example:
      lsr eval beir scifact --data-dir data --baseline bm25
    """


@command.command("beir", short_help="Measure encoders and baselines on BEIR data sets.")
@click.argument("datasets", metavar="DATASET...", nargs=-1, required=True)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where data sets are found by name (else the folder that LSR_DATA names).",
)
@click.option(
    "--encoder",
    "encoders",
    metavar="NAME",
    multiple=True,
    default=("default",),
    show_default=True,
    help="A bundled name or a model folder; may be given several times.",
)
@click.option("--split", metavar="SPLIT", default="test", show_default=True, help="Which judgements.")
@click.option(
    "--baseline",
    "baselines",
    metavar="NAME",
    multiple=True,
    help="bm25, dense or dense:FOLDER; may be given several times. The others are compared with the first.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fast"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the encoder.",
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep each system's TREC run and index there.",
)
@click.option(
    "--per-query",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write the measures of every query there, a line a query and system.",
)
@json_option
@common_options
def beir(
    datasets: tuple[str, ...],
    data_dir: Path | None,
    encoders: tuple[str, ...],
    split: str,
    baselines: tuple[str, ...],
    precision: Literal["auto", "fast"],
    run_dir: Path | None,
    per_query: Path | None,
    as_json: bool,
) -> None:
    """Measure encoders and baselines on data sets in the layout of BEIR.

    A DATASET is a folder with corpus.jsonl, queries.jsonl (either may be .gz) and qrels/test.tsv, or
    the name of such a folder in the data directory. Baselines need an extra: [eval] for bm25,
    [torch] for dense.

    \b
    Example:
      lsr eval beir scifact nfcorpus --data-dir data --baseline bm25
      lsr eval beir data/scifact --encoder default --encoder bm25 --json
    """
    from lsr.eval.runner import evaluate_beir

    report = evaluate_beir(
        datasets,
        data_dir=data_dir,
        encoders=encoders,
        split=split,
        baselines=baselines,
        precision=precision,
        run_dir=run_dir,
        per_query=per_query,
    )
    if as_json:
        print_json(report.to_json())
    else:
        _print_tables(report)


def _print_tables(report: EvaluationReport) -> None:
    from rich.console import Console

    from lsr.eval.report import cost_table, quality_table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(quality_table(report))
    console.print()
    console.print(cost_table(report))
    if report.comparisons:
        console.print()
        console.print("p: two-sided paired randomisation test over the queries, 100,000 draws.", style="dim")
