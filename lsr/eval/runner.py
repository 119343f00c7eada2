"""Runs an evaluation: every system over every data set, measured, compared, and kept where asked.

Everything that can be wrong with the request (a data set, an encoder, a baseline, a folder that cannot
be written) is found before the first document is encoded. What is kept (see `lsr.eval.kept`) is not
measured again, so that a killed evaluation goes on where it was.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from lsr.api import Mode
from lsr.cache import cache_root
from lsr.data.runs import write_run
from lsr.encoders.protocol import Encoder
from lsr.errors import InputError
from lsr.eval.choosing import Chosen, Wish, choose_systems
from lsr.eval.datasets import Dataset, load_datasets
from lsr.eval.efficiency import LATENCY_CLOCK, Clock, PeakMemory
from lsr.eval.engine import Quantize
from lsr.eval.fusion import fuse_runs
from lsr.eval.kept import Content, read_content, read_kept, run_key, write_kept
from lsr.eval.machine import describe_machine
from lsr.eval.measures import mean, measure_queries
from lsr.eval.report import EvaluationReport, Result, SystemComparison, query_rows
from lsr.eval.runfile import strictly_falling
from lsr.eval.schedule import Schedule
from lsr.eval.significance import compare, correct
from lsr.eval.systems import Place, System, SystemRun, file_name
from lsr.progress import say


def evaluate_beir(
    datasets: Sequence[str],
    *,
    data_dir: str | Path | None = None,
    encoders: Sequence[str | Path | Encoder] = ("default",),
    baselines: Sequence[str] = (),
    split: str = "test",
    precision: Literal["auto", "fast"] = "auto",
    run_dir: str | Path | None = None,
    per_query: str | Path | None = None,
    modes: Sequence[Mode] = ("exact",),
    overlaps: Sequence[float] = (),
    quantize: Sequence[Quantize] = ("u8",),
    vectors: Sequence[str] = (),
    fusions: Sequence[str] = (),
    latency: bool = False,
    keep: bool = False,
) -> EvaluationReport:
    """Measures encoders and baselines on data sets in the layout of BEIR.

    Args:
        datasets: Folders, or names of folders in the data directory.
        data_dir: The data directory; None for the one that `LSR_DATA` names.
        encoders: Names, model folders, hub names (`"hf:org/name"`) or loaded encoders.
        baselines: `"bm25"`, `"lucene-bm25"`, `"dense"`, `"dense:FOLDER"`; the first is what the others are
            compared with.
        split: Which judgements.
        precision: Arithmetic of the encoders.
        run_dir: Where to keep each system's TREC run (`DATASET/SYSTEM.trec`), index (`SYSTEM.lsr`), vectors
            and costs; what an earlier evaluation kept there is not measured again. None keeps nothing.
        per_query: A JSONL file for the measures of every query, written as they come.
        modes: `"exact"`, which always runs, and `"approximate"`.
        overlaps: For the approximate mode, the shares of the exact hits to find, a system each.
        quantize: How indexes keep weights, a system each: `"u8"`, `"u16"`, `"f32"`.
        vectors: Pairs `"DOCUMENTS.npz,QUERIES.npz"` as `lsr encode` writes them, for one data set.
        fusions: `"rrf:A,B"` or `"minmax:A,B"`, A and B being systems of the report.
        latency: Time queries on one core, warm and repeated, and say where the numbers are noisy.
        keep: Without `run_dir`, keep all of it in the cache folder, under `eval`.

    Raises:
        InputFileError: A data set is not there.
        InputError: A data set, a baseline or an output file that cannot be used.
        UnknownEncoderError: An encoder is not there.
        MissingExtraError: A baseline is not installed.

    Example:
        >>> from lsr.data.demo_corpus import demo_folder
        >>> report = evaluate_beir([str(demo_folder().path)], encoders=["bm25"])
        >>> [(result.system, len(result.measured)) for result in report.results]
        [('bm25', 64)]
    """
    loaded = load_datasets(datasets, split=split, data_dir=data_dir)
    if vectors and len(loaded) > 1:
        raise InputError("--vectors holds the vectors of one data set: name one DATASET with it.")
    chosen = choose_systems(Wish(encoders, baselines, precision, modes, overlaps, quantize, vectors, fusions))
    notes = [*chosen.notes, *(note for dataset in loaded for note in dataset.notes)]
    for note in notes:
        say(note)
    home = Home(run_dir, keep=keep)
    clock = LATENCY_CLOCK if latency else Clock()
    results: list[Result] = []
    comparisons: list[SystemComparison] = []
    with ExitStack() as stack:
        lines = stack.enter_context(_open_output(per_query))
        contents = {dataset.name: read_content(dataset) for dataset in loaded}
        notes += [note for content in contents.values() for note in content.notes]
        notes += _own_notes(contents)
        schedule = Schedule(
            {name: content.documents for name, content in contents.items()},
            [system.name for system in chosen.systems],
        )
        for dataset in loaded:
            content = contents[dataset.name]
            with home.place(dataset.name, content, clock) as place:
                measured = list(_measure_all(dataset, chosen, place, content, schedule, lines))
            results += measured
            comparisons += _compare(measured, chosen.reference)
    notes += schedule.notes()
    return EvaluationReport(
        tuple(results),
        tuple(comparisons),
        machine=describe_machine(),
        notes=tuple(notes),
        datasets={dataset.name: dataset for dataset in loaded},
    )


@dataclass(frozen=True, slots=True)
class Home:
    """Where an evaluation keeps its files: a folder of the user, the cache, or nowhere."""

    path: Path | None
    by_content: bool = False

    def __init__(self, run_dir: str | Path | None, *, keep: bool) -> None:
        chosen = run_dir if run_dir is not None else cache_root() / "eval" if keep else None
        object.__setattr__(self, "path", _make_folder(chosen))
        object.__setattr__(self, "by_content", run_dir is None)

    @contextmanager
    def place(self, dataset: str, content: Content, clock: Clock) -> Iterator[Place]:
        """The place of a data set; one that is not kept goes with the block."""
        if self.path is None:
            with tempfile.TemporaryDirectory(prefix="lsr-eval-") as folder:
                yield Place(Path(folder), content.corpus, content.documents, clock=clock)
            return
        name = f"{dataset}-{content.corpus[:12]}" if self.by_content else dataset
        kept = self.path / file_name(name)
        kept.mkdir(parents=True, exist_ok=True)
        yield Place(kept, content.corpus, content.documents, kept=True, clock=clock)


def _measure_all(
    dataset: Dataset,
    chosen: Chosen,
    place: Place,
    content: Content,
    schedule: Schedule,
    lines: IO[str] | None,
) -> Iterator[Result]:
    """The results of every system and every fusion on one data set."""
    runs: dict[str, SystemRun] = {}
    for system in chosen.systems:
        key = run_key(system.key, content, place.clock)
        run = read_kept(place.path(system.name, ".run.json.gz"), key) if place.kept else None
        if run is not None:
            schedule.skip(dataset.name, system.name)
        else:
            schedule.start(dataset.name, system.name)
            run = _run(system, dataset, place, key)
            schedule.finish(dataset.name, system.name)
        runs[system.name] = replace(run, explain=system.explainer(dataset, place))
        yield _judge(system.name, runs[system.name], dataset, lines)
    for fusion in chosen.fusions:
        run = fuse_runs(fusion, *(runs[name] for name in fusion.parts))
        if place.kept:
            _keep_run(run, place, fusion.name)
        yield _judge(fusion.name, run, dataset, lines)


def _own_notes(contents: Mapping[str, Content]) -> Iterator[str]:
    """Which rule of BEIR was applied, and to how many documents."""
    for name, content in contents.items():
        if content.own:
            yield f"{name}: documents left out of a ranking for having their query's own id: {content.own:,}."


def _run(system: System, dataset: Dataset, place: Place, key: str) -> SystemRun:
    with PeakMemory() as peak:
        run = system.run(dataset, place)
    if run.peak_mb is None:
        run = replace(run, peak_mb=peak.mb)
    if place.kept:
        _keep_run(run, place, system.name)
        write_kept(place.path(system.name, ".run.json.gz"), key, run)
    return run


def _judge(system: str, run: SystemRun, dataset: Dataset, lines: IO[str] | None) -> Result:
    ids = {query: [id for id, _ in ranking] for query, ranking in run.rankings.items()}
    measured = measure_queries(ids, dataset.qrels)
    result = Result(dataset.name, system, measured, mean(measured.values()), run)
    _write_rows(result, lines)
    return result


def _compare(results: Sequence[Result], reference: str) -> list[SystemComparison]:
    """Every other system of one data set with the reference, query by query, with Holm's correction."""
    values = {
        result.system: [measured.ndcg_at_10 for measured in result.measured.values()] for result in results
    }
    others = [result for result in results if result.system != reference]
    compared = correct([compare(values[result.system], values[reference]) for result in others])
    return [
        SystemComparison(result.dataset, result.system, reference, comparison)
        for result, comparison in zip(others, compared, strict=True)
    ]


def _keep_run(run: SystemRun, place: Place, name: str) -> None:
    ranked = {query: strictly_falling(ranking) for query, ranking in run.rankings.items()}
    write_run(place.path(name, ".trec"), ranked, file_name(name))


def _write_rows(result: Result, lines: IO[str] | None) -> None:
    if lines is not None:
        for row in query_rows(result):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        lines.flush()


@contextmanager
def _open_output(path: str | Path | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    try:
        file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): choose another --per-query file."
        ) from error
    with file:
        yield file


def _make_folder(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be made ({error.strerror}): choose another --run-dir.") from error
    return Path(path)
