"""Runs an evaluation: every system over every data set, measured, compared, and kept where asked.

Everything that can be wrong with the request (a data set, an encoder, a baseline, a folder that cannot
be written) is found before the first document is encoded.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal

from lsr.data.runs import write_run
from lsr.encoders.loading import load_encoder
from lsr.encoders.protocol import Encoder
from lsr.errors import InputError
from lsr.eval.baselines import make_baseline
from lsr.eval.datasets import Dataset, load_datasets
from lsr.eval.engine import EncoderSystem
from lsr.eval.measures import mean, measure_queries
from lsr.eval.report import EvaluationReport, Result, SystemComparison, query_rows
from lsr.eval.runfile import strictly_falling
from lsr.eval.significance import compare
from lsr.eval.systems import System, SystemRun
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
) -> EvaluationReport:
    """Measures encoders and baselines on data sets in the layout of BEIR.

    Args:
        datasets: Folders, or names of folders in the data directory.
        data_dir: The data directory; None for the one that `LSR_DATA` names.
        encoders: Names, model folders or loaded encoders.
        baselines: `"bm25"`, `"dense"`, `"dense:FOLDER"`; the first is what the others are compared with.
        split: Which judgements.
        precision: Arithmetic of the encoders.
        run_dir: Where to keep each system's TREC run (`DATASET/SYSTEM.trec`) and index (`SYSTEM.lsr`); None
            keeps neither.
        per_query: A JSONL file for the measures of every query, written as they come.

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
    compared = [make_baseline(kind) for kind in dict.fromkeys(baselines)]
    systems = [*_load_encoders(encoders, precision), *compared]
    _check_names([system.name for system in systems])
    reference = compared[0] if compared else systems[0]
    results: list[Result] = []
    comparisons: list[SystemComparison] = []
    with ExitStack() as stack:
        lines = stack.enter_context(_open_output(per_query))
        home = _make_folder(run_dir)
        for dataset in loaded:
            measured = []
            for system in systems:
                result = _measure(system, dataset, home)
                measured.append(result)
                _write_rows(result, lines)
            results += measured
            comparisons += _compare(measured, reference.name)
    return EvaluationReport(tuple(results), tuple(comparisons))


def _load_encoders(
    encoders: Sequence[str | Path | Encoder], precision: Literal["auto", "fast"]
) -> list[EncoderSystem]:
    """The encoders under distinct names, each once."""
    systems: dict[str, EncoderSystem] = {}
    for given in encoders:
        encoder = load_encoder(given, precision=precision) if isinstance(given, str | Path) else given
        if any(encoder.fingerprint == system.encoder.fingerprint for system in systems.values()):
            continue
        name = f"{encoder.name} {encoder.fingerprint[:8]}" if encoder.name in systems else encoder.name
        systems[name] = EncoderSystem(encoder, name)
    return list(systems.values())


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise InputError("There is no system to measure: name an encoder or a baseline.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two systems would be called {name!r} in the report: rename the folder of one.")


def _measure(system: System, dataset: Dataset, run_dir: Path | None) -> Result:
    """Runs one system over one data set."""
    say(f"{dataset.name}: {system.name}")
    with ExitStack() as stack:
        if run_dir is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lsr-eval-")))
        else:
            home = run_dir / _file_name(dataset.name)
            home.mkdir(parents=True, exist_ok=True)
        run = system.run(dataset, home / f"{_file_name(system.name)}.lsr")
        if run_dir is not None:
            _keep_run(run, home / f"{_file_name(system.name)}.trec", tag=_file_name(system.name))
    ids = {query: [id for id, _ in ranking] for query, ranking in run.rankings.items()}
    measured = measure_queries(ids, dataset.qrels)
    return Result(dataset.name, system.name, measured, mean(measured.values()), run)


def _compare(results: Sequence[Result], baseline: str) -> Iterator[SystemComparison]:
    """Every other system of one data set with the baseline, query by query."""
    values = {
        result.system: [measured.ndcg_at_10 for measured in result.measured.values()] for result in results
    }
    for result in results:
        if result.system != baseline:
            comparison = compare(values[result.system], values[baseline])
            yield SystemComparison(result.dataset, result.system, baseline, comparison)


def _keep_run(run: SystemRun, path: Path, *, tag: str) -> None:
    write_run(path, {query: strictly_falling(ranking) for query, ranking in run.rankings.items()}, tag)


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


def _file_name(name: str) -> str:
    """A name with every character that a path or a TREC run could stumble over replaced."""
    return re.sub(r"[^\w.@+-]", "_", name)
