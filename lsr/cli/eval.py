"""`lsr eval`: how well systems find what people judged relevant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lsr.cli import eval_leaks, eval_run
from lsr.cli.options import common_options, json_option, per_query_option, precision_option, print_json

if TYPE_CHECKING:
    from lsr.api import Mode
    from lsr.eval.engine import Quantize
    from lsr.eval.report import EvaluationReport


@click.group("eval", short_help="Measure how well a system finds what was judged relevant.")
@common_options
def command() -> None:
    """Measure how well a system finds what was judged relevant.

    \b
    Example:
      lsr eval beir scifact --data-dir data --baseline bm25
      lsr eval run qrels.tsv mine.trec theirs.trec --compare
    """


command.add_command(eval_run.command)
command.add_command(eval_leaks.command)


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
    help="A bundled name, a model folder or hf:org/name; may be given several times.",
)
@click.option(
    "--vectors",
    metavar="DOCS.npz,QUERIES.npz",
    multiple=True,
    help="Vectors of the corpus and of its queries, as lsr encode writes them; may be given several times.",
)
@click.option(
    "--quantize",
    type=click.Choice(["u8", "u16", "f32"]),
    multiple=True,
    default=("u8",),
    show_default=True,
    help="How indexes keep weights; may be given several times.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["exact", "approximate"]),
    multiple=True,
    default=("exact",),
    show_default=True,
    help="How indexes are searched; may be given twice. The exact mode always runs.",
)
@click.option(
    "--overlap",
    "overlaps",
    type=float,
    metavar="SHARE",
    multiple=True,
    help="With --mode approximate: the share of the exact hits to find; may be given several times.",
)
@click.option("--split", metavar="SPLIT", default="test", show_default=True, help="Which judgements.")
@click.option(
    "--baseline",
    "baselines",
    metavar="NAME",
    multiple=True,
    help="bm25, lucene-bm25, dense or dense:FOLDER; may be given several times. The others are compared "
    "with the first.",
)
@click.option(
    "--fuse",
    "fusions",
    metavar="METHOD:A,B",
    multiple=True,
    help="rrf:A,B or minmax:A,B makes one of two systems of the report; may be given several times.",
)
@precision_option
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep each system's TREC run, index, vectors and costs there; what is there is not measured again.",
)
@click.option("--keep", is_flag=True, help="Without --run-dir: keep all that in the cache folder.")
@click.option(
    "--latency",
    is_flag=True,
    help="Time queries one at a time on one core, warm, five times over, and print the spread.",
)
@per_query_option
@click.option(
    "--report",
    "reports",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Write the report there, in the form of its ending: .html, .csv, .tex, .md or .json; may be given "
    "several times.",
)
@click.option("--paper", is_flag=True, help="Print our numbers beside the published ones of the same models.")
@json_option
@common_options
def beir(
    datasets: tuple[str, ...],
    data_dir: Path | None,
    encoders: tuple[str, ...],
    vectors: tuple[str, ...],
    quantize: tuple[Quantize, ...],
    modes: tuple[Mode, ...],
    overlaps: tuple[float, ...],
    split: str,
    baselines: tuple[str, ...],
    fusions: tuple[str, ...],
    precision: Literal["auto", "fast"],
    run_dir: Path | None,
    keep: bool,
    latency: bool,
    per_query: Path | None,
    reports: tuple[Path, ...],
    paper: bool,
    as_json: bool,
) -> None:
    """Measure encoders and baselines on data sets in the layout of BEIR.

    A DATASET is a folder with corpus.jsonl, queries.jsonl (either may be .gz) and qrels/test.tsv, or
    the name of such a folder in the data directory. Baselines need an extra: [eval] for bm25,
    [lucene] for lucene-bm25, [torch] for dense. --encoder '' leaves encoders out.

    \b
    Example:
      lsr eval beir scifact nfcorpus --data-dir data --baseline bm25
      lsr eval beir data/scifact --encoder default --encoder bm25 --json
      lsr eval beir scifact --baseline bm25 --fuse rrf:default,bm25 --latency --report page.html
    """
    from lsr.eval.report import check_report_path, write_report
    from lsr.eval.runner import evaluate_beir

    for path in reports:
        check_report_path(path)
    report = evaluate_beir(
        datasets,
        data_dir=data_dir,
        encoders=[encoder for encoder in encoders if encoder],
        split=split,
        baselines=baselines,
        precision=precision,
        run_dir=run_dir,
        per_query=per_query,
        modes=modes,
        overlaps=overlaps,
        quantize=quantize,
        vectors=vectors,
        fusions=fusions,
        latency=latency,
        keep=keep,
    )
    for path in reports:
        write_report(report, path)
    if as_json:
        print_json(_with_published(report) if paper else report.to_json())
    else:
        _print_tables(report, paper=paper)


def _with_published(report: EvaluationReport) -> dict[str, Any]:
    from lsr.eval.published import published_json

    return {**report.to_json(), "published": published_json(report)}


def _print_tables(report: EvaluationReport, *, paper: bool) -> None:
    from rich.console import Console

    from lsr.eval.report_table import cost_table, quality_table, significance_table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(quality_table(report))
    console.print()
    if report.comparisons:
        console.print(significance_table(report))
        console.print()
    console.print(cost_table(report))
    for line in _spreads(report):
        console.print(line)
    if paper:
        from lsr.eval.published import published_table

        console.print()
        console.print(published_table(report))
    for note in report.notes:
        console.print(note, style="dim")


def _spreads(report: EvaluationReport) -> Iterator[str]:
    """A line for each result whose queries were timed several times: how far its repeats are apart."""
    heading = "\nmedian milliseconds of the fastest and of the slowest repeat, on one core:"
    for result in report.results:
        latency = result.run.latency
        if latency.spread is not None:
            fastest, slowest = latency.spread
            noisy = "  noisy: do not quote it" if latency.noisy else ""
            if heading:
                yield heading
            yield f"  {result.dataset}  {result.system}  {fastest:.2f} to {slowest:.2f}{noisy}"
            heading = ""
