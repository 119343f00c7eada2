"""The queries on which two systems differ most, with the head of both rankings and what made their scores.

A mean hides why a system is ahead. For each comparison of a report this lists the queries whose NDCG@10
differs most, each way, and for both systems the first hits with their grades and, where a system can take
its scores apart, the terms that contributed most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lsr.errors import LsrError
from lsr.eval.datasets import Dataset
from lsr.eval.report import EvaluationReport, Result
from lsr.eval.systems import Explain
from lsr.types import TermContribution

QUERIES = 3
"""Queries shown each way."""

HITS = 3
"""Hits shown of each ranking."""

TERMS = 6
"""Terms shown of each hit."""

_SNIPPET = 160


@dataclass(frozen=True, slots=True)
class ShownHit:
    """A hit at the head of a ranking.

    Attributes:
        id: The document's id.
        score: Its score.
        grade: How it was judged; None if it was not, or the judgements are not at hand.
        text: The beginning of its text; empty if the corpus is not at hand.
        terms: What contributed most to its score, the most first.
    """

    id: str
    score: float
    grade: int | None
    text: str
    terms: tuple[TermContribution, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one system made of a query.

    Attributes:
        system: Its name.
        ndcg_at_10: What that was worth.
        first_relevant: Rank of the first relevant document; None if there is none in the ranking, or the
            judgements are not at hand.
        hits: The head of its ranking.
        explained: The system can take its scores apart.
    """

    system: str
    ndcg_at_10: float
    first_relevant: int | None
    hits: tuple[ShownHit, ...]
    explained: bool


@dataclass(frozen=True, slots=True)
class ChangedQuery:
    """One query under two systems."""

    query_id: str
    text: str
    system: Answer
    baseline: Answer

    @property
    def difference(self) -> float:
        """NDCG@10 of the system less the baseline's."""
        return self.system.ndcg_at_10 - self.baseline.ndcg_at_10


@dataclass(frozen=True, slots=True)
class Changes:
    """The queries that changed most between two systems on one data set.

    Attributes:
        dataset: The data set.
        system: The one system.
        baseline: The other.
        gained: Queries where the system is ahead, the largest difference first.
        lost: Queries where it is behind, the largest difference first.
    """

    dataset: str
    system: str
    baseline: str
    gained: tuple[ChangedQuery, ...]
    lost: tuple[ChangedQuery, ...]


def most_changed(result: Result, baseline: Result, *, n: int = QUERIES) -> tuple[list[str], list[str]]:
    """Ids of the queries with the largest differences in NDCG@10: gained, then lost.

    Args:
        result: A system on a data set.
        baseline: Another on the same one.
        n: How many each way, at most; queries without a difference are never among them.
    """
    differences = {
        id: measured.ndcg_at_10 - baseline.measured[id].ndcg_at_10
        for id, measured in result.measured.items()
        if id in baseline.measured
    }
    gained = sorted((id for id, by in differences.items() if by > 0), key=lambda id: (-differences[id], id))
    lost = sorted((id for id, by in differences.items() if by < 0), key=lambda id: (differences[id], id))
    return gained[:n], lost[:n]


def query_changes(
    report: EvaluationReport, *, n: int = QUERIES, hits: int = HITS, terms: int = TERMS
) -> list[Changes]:
    """The queries that changed most, of every comparison of a report.

    A corpus is read once, for the texts of the documents that are shown.

    Args:
        report: The report. Texts are shown of the data sets that it holds, terms where a system's index is
            there still.
        n: Queries each way.
        hits: Hits of each ranking.
        terms: Terms of each hit.
    """
    found = []
    for item in report.comparisons:
        result = report.result(item.dataset, item.system)
        baseline = report.result(item.dataset, item.baseline)
        if result is None or baseline is None:
            continue
        dataset = report.datasets.get(item.dataset)
        gained, lost = (
            tuple(_change(id, result, baseline, dataset, hits, terms) for id in ids)
            for ids in most_changed(result, baseline, n=n)
        )
        found.append(Changes(item.dataset, item.system, item.baseline, gained, lost))
    return _with_texts(found, report.datasets)


def _change(
    id: str, result: Result, baseline: Result, dataset: Dataset | None, hits: int, terms: int
) -> ChangedQuery:
    text = dataset.queries.get(id, "") if dataset else ""
    judged = dataset.qrels.get(id, {}) if dataset else None
    one, other = (_answer(id, text, item, judged, hits, terms) for item in (result, baseline))
    return ChangedQuery(id, text, one, other)


def _answer(
    id: str, text: str, result: Result, judged: Mapping[str, int] | None, hits: int, terms: int
) -> Answer:
    ranking = result.run.rankings.get(id, [])
    explain = result.run.explain if text else None
    shown = []
    for document, score in ranking[:hits]:
        grade = judged.get(document) if judged is not None else None
        shown.append(ShownHit(document, score, grade, "", _terms(explain, text, document, terms)))
    relevant = (rank for rank, (document, _) in enumerate(ranking, 1) if (judged or {}).get(document, 0) > 0)
    return Answer(
        result.system,
        result.measured[id].ndcg_at_10,
        next(relevant, None),
        tuple(shown),
        any(hit.terms for hit in shown),
    )


def _terms(explain: Explain | None, text: str, document: str, count: int) -> tuple[TermContribution, ...]:
    """The largest contributions; none where the index of a system is gone or cannot be read any more."""
    if explain is None:
        return ()
    try:
        found: Sequence[TermContribution] = explain(text, document)
    except (LsrError, OSError):
        return ()
    return tuple(sorted(found, key=lambda term: (-term.contribution, term.term))[:count])


def _with_texts(found: Sequence[Changes], datasets: Mapping[str, Dataset]) -> list[Changes]:
    texts: dict[str, dict[str, str]] = {}
    for name, dataset in datasets.items():
        wanted = {hit.id for item in found if item.dataset == name for hit in _hits(item)}
        texts[name] = _read_texts(dataset, wanted) if wanted else {}
    return [
        replace(
            item,
            gained=tuple(_fill(query, texts.get(item.dataset, {})) for query in item.gained),
            lost=tuple(_fill(query, texts.get(item.dataset, {})) for query in item.lost),
        )
        for item in found
    ]


def _hits(item: Changes) -> Iterable[ShownHit]:
    for query in (*item.gained, *item.lost):
        yield from query.system.hits
        yield from query.baseline.hits


def _read_texts(dataset: Dataset, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for document in dataset.documents():
        if document.id in wanted:
            found[document.id] = _snippet(document.text)
            if len(found) == len(wanted):
                break
    return found


def _snippet(text: str) -> str:
    flat = " ".join(text[: 4 * _SNIPPET].split())
    return flat if len(flat) <= _SNIPPET else flat[:_SNIPPET].rsplit(" ", 1)[0] + " …"


def _fill(query: ChangedQuery, texts: Mapping[str, str]) -> ChangedQuery:
    def fill(answer: Answer) -> Answer:
        return replace(
            answer, hits=tuple(replace(hit, text=texts.get(hit.id, hit.text)) for hit in answer.hits)
        )

    return replace(query, system=fill(query.system), baseline=fill(query.baseline))
