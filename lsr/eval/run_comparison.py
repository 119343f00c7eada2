"""Runs that anything made, measured against judgements and compared with each other.

`lsr eval run` calls `measure_runs`. A run comes as a TREC file, and what is in it counts, as trec_eval would
have it with `-c`: the order is by score, equal scores by document id downwards; every judged query counts,
0.0 where the run does not have it; a query without judgements does not. One rule is BEIR's: a document with
the query's own id is dropped (ArguAna, whose queries are documents), unless it is asked to stay. How often
each rule was applied is counted, and told by `RunsReport.notes`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lsr.data.canonical import list_names, quote
from lsr.data.qrels import Qrels, read_qrels
from lsr.data.replacing import written
from lsr.data.runs import Run, read_run
from lsr.errors import InputError
from lsr.eval.measures import MEASURES, Measured, mean, measure, trec_eval_order
from lsr.eval.significance import DRAWS, RESAMPLES, Comparison, compare, correct

MOST_CHANGED = 10
"""How many queries of a comparison are listed."""

TIES = "score as a 32-bit float, then document id, both descending (trec_eval)"
"""How equal scores are ordered."""

_ENDINGS = (".gz", ".trec", ".run", ".res", ".txt", ".tsv")


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run against the judgements.

    Attributes:
        path: The file, as it was given.
        system: What it is called: the file's name without its ending, or the whole path where two would have
            one name.
        measured: The measures of each judged query, in the order of the judgements.
        mean: Their means.
        missing: Judged queries that the run does not have; they count 0.0.
        unjudged: Queries of the run that have no judgements; they do not count.
        own_ids: Documents with the id of their query, in judged queries.
        tied: Documents whose score, as a 32-bit float, is that of a document ranked before them.
    """

    path: str
    system: str
    measured: dict[str, Measured]
    mean: Measured
    missing: int
    unjudged: int
    own_ids: int
    tied: int


@dataclass(frozen=True, slots=True)
class QueryChange:
    """One query under two systems."""

    query_id: str
    value: float
    baseline_value: float


@dataclass(frozen=True, slots=True)
class RunPair:
    """One run against another.

    Attributes:
        system: Name of the one.
        baseline: Name of the other, which was given before it.
        comparison: The tests; `p_holm` is over all pairs of the report.
        changed: The queries whose values differ most, the largest difference first.
    """

    system: str
    baseline: str
    comparison: Comparison
    changed: tuple[QueryChange, ...]


@dataclass(frozen=True, slots=True)
class RunsReport:
    """Runs against judgements.

    Attributes:
        qrels: The file of judgements, as it was given.
        queries: Judged queries: every mean is over them.
        hopeless: Judged queries without a relevant document; they count 0.0.
        own_id: What was done with a document that has the id of its query.
        runs: In the order in which they were given.
        measure: What `pairs` are compared by.
        pairs: Every pair of runs; empty unless a comparison was asked for.
    """

    qrels: str
    queries: int
    hopeless: int
    own_id: Literal["drop", "keep"]
    runs: tuple[MeasuredRun, ...]
    measure: str
    pairs: tuple[RunPair, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """The rules that were applied, a sentence each, with how often."""
        lines = []
        if self.hopeless:
            lines.append(
                f"{self.qrels}: {_queries(self.hopeless)} without a relevant document, counted as 0.0."
            )
        for run in self.runs:
            lines += [f"{run.system}: {note}." for note in _notes(run, self.own_id)]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values, in the form that `docs/evaluation.md` describes."""
        return {
            "version": 1,
            "results": [
                {
                    "dataset": self.qrels,
                    "system": run.system,
                    "run": run.path,
                    **asdict(run.mean),
                    "queries": self.queries,
                    "queries_missing": run.missing,
                    "queries_unjudged": run.unjudged,
                    "own_ids": run.own_ids,
                    "tied": run.tied,
                }
                for run in self.runs
            ],
            "comparisons": [
                {
                    "dataset": self.qrels,
                    "system": pair.system,
                    "baseline": pair.baseline,
                    "measure": self.measure,
                    **asdict(pair.comparison),
                    "draws": DRAWS,
                    "resamples": RESAMPLES,
                    "changed": [asdict(change) for change in pair.changed],
                }
                for pair in self.pairs
            ],
            "own_id": self.own_id,
            "ties": TIES,
            "notes": list(self.notes),
        }


def measure_runs(
    qrels: str | Path,
    runs: Sequence[str | Path],
    *,
    compared_by: str | None = None,
    own_id: Literal["drop", "keep"] = "drop",
) -> RunsReport:
    """Measures TREC runs, and compares every pair of them if asked to.

    Args:
        qrels: Judgements, as `lsr.data.qrels.read_qrels` reads them.
        runs: Files, as `lsr.data.runs.read_run` reads them.
        compared_by: The measure by which pairs are compared, one of `MEASURES`; None compares nothing.
        own_id: What happens with a document that has the id of its query.

    Raises:
        InputFileError: A file is not there or cannot be read.
        InputError: A line is no judgement or no rank (with file and line), a run is empty or has no judged
            query, a run is given twice, or there is no pair to compare.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     qrels, run = Path(folder, "qrels.txt"), Path(folder, "bm25.trec")
        ...     _ = qrels.write_text("q1 0 d1 1\\nq1 0 d2 2\\n", encoding="utf-8")
        ...     _ = run.write_text("q1 Q0 d1 1 7.5 bm25\\n", encoding="utf-8")
        ...     report = measure_runs(qrels, [run])
        >>> report.runs[0].system, report.runs[0].mean.recall_at_100
        ('bm25', 0.5)
    """
    if compared_by is not None and compared_by not in MEASURES:
        raise InputError(f"There is no measure {quote(compared_by)}; choose one of {list_names(MEASURES)}.")
    if compared_by is not None and len(runs) < 2:
        raise InputError("There is no pair to compare; give two runs or more.")
    names = _names([str(run) for run in runs])
    judged = read_qrels(qrels)
    measured = [
        _measure(read_run(path), str(path), name, judged, qrels=str(qrels), own_id=own_id)
        for path, name in zip(runs, names, strict=True)
    ]
    return RunsReport(
        qrels=str(qrels),
        queries=len(judged),
        hopeless=sum(all(grade <= 0 for grade in grades.values()) for grades in judged.values()),
        own_id=own_id,
        runs=tuple(measured),
        measure=compared_by or "ndcg_at_10",
        pairs=_compare_pairs(measured, compared_by) if compared_by else (),
    )


def write_query_lines(report: RunsReport, path: str | Path) -> None:
    """Writes a JSON line a query and run, as `lsr eval beir --per-query` does.

    Raises:
        InputFileError: The file cannot be written.
    """
    with written(Path(path)), open(path, "w", encoding="utf-8", newline="\n") as file:
        for run in report.runs:
            for id, values in run.measured.items():
                row = {"dataset": report.qrels, "system": run.system, "query_id": id, **asdict(values)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each run: short where that is enough."""
    for path, count in Counter(paths).items():
        if count > 1:
            raise InputError(f"the run {path} is given {count} times; give it once.")
    short = [_stem(path) for path in paths]
    return [
        name if short.count(name) == 1 and name else path for name, path in zip(short, paths, strict=True)
    ]


def _stem(path: str) -> str:
    name = Path(path).name
    for ending in _ENDINGS:
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return name


def _notes(run: MeasuredRun, own_id: Literal["drop", "keep"]) -> Iterator[str]:
    if run.missing:
        yield f"{_queries(run.missing)} with judgements but without a ranking, counted as 0.0"
    if run.unjudged:
        yield f"{_queries(run.unjudged)} without judgements, not counted"
    if run.own_ids:
        ranked = f"{_documents(run.own_ids)} with the id of the query"
        dropped = f"{ranked}, dropped as BEIR does (--own-id keep measures them)"
        yield (
            dropped
            if own_id == "drop"
            else f"{ranked}, measured as trec_eval does (--own-id drop drops them)"
        )
    if run.tied:
        yield f"{_documents(run.tied)} with the score of another, ordered by id downwards as trec_eval does"


def _measure(
    run: Run, path: str, system: str, judged: Qrels, *, qrels: str, own_id: Literal["drop", "keep"]
) -> MeasuredRun:
    found = [query for query in judged if query in run]
    if not found:
        raise InputError(
            f"{path}: none of its {_queries(len(run))} ({list_names(list(run), 3)}) has judgements in "
            f"{qrels}, which judges {list_names(list(judged), 3)}; give those that belong to this run."
        )
    own_ids = tied = 0
    measured = {}
    for query, grades in judged.items():
        hits = run.get(query, [])
        kept = [hit for hit in hits if hit[0] != query]
        own_ids += len(hits) - len(kept)
        hits = kept if own_id == "drop" else hits
        tied += _count_tied(hits)
        measured[query] = measure(trec_eval_order(hits), grades)
    return MeasuredRun(
        path=path,
        system=system,
        measured=measured,
        mean=mean(measured.values()),
        missing=len(judged) - len(found),
        unjudged=len(run) - len(found),
        own_ids=own_ids,
        tied=tied,
    )


def _count_tied(hits: Sequence[tuple[str, float]]) -> int:
    with np.errstate(over="ignore"):
        scores = np.array([score for _, score in hits], dtype=np.float64).astype(np.float32)
    return len(scores) - len(np.unique(scores))


def _compare_pairs(runs: Sequence[MeasuredRun], name: str) -> tuple[RunPair, ...]:
    pairs = list(combinations(runs, 2))
    tested = correct([compare(_values(run, name), _values(baseline, name)) for baseline, run in pairs])
    return tuple(
        RunPair(run.system, baseline.system, comparison, tuple(_most_changed(run, baseline, name)))
        for (baseline, run), comparison in zip(pairs, tested, strict=True)
    )


def _values(run: MeasuredRun, name: str) -> list[float]:
    return [getattr(values, name) for values in run.measured.values()]


def _most_changed(run: MeasuredRun, baseline: MeasuredRun, name: str) -> Iterator[QueryChange]:
    changes = [
        QueryChange(id, value, before)
        for id, value, before in zip(run.measured, _values(run, name), _values(baseline, name), strict=True)
        if value != before
    ]
    changes.sort(key=lambda change: -abs(change.value - change.baseline_value))
    yield from changes[:MOST_CHANGED]


def _queries(count: int) -> str:
    return f"{count:,} {'query' if count == 1 else 'queries'}"


def _documents(count: int) -> str:
    return f"{count:,} {'document' if count == 1 else 'documents'}"
