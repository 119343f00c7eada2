"""The part of a report's page that shows queries: what both systems answered, and why."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lsr.eval.query_changes import Answer, ChangedQuery, Changes, ShownHit
from lsr.eval.report import EvaluationReport
from lsr.types import TermContribution

_INTRO = (
    "<p>The queries with the largest differences in NDCG@10, each way, with the first hits of both systems. "
    "Where a system can take its scores apart, the terms that contributed most stand below a hit; one in "
    "italics is not a word of the document but was added by the encoder.</p>"
)


def changes_section(changes: Sequence[Changes], report: EvaluationReport) -> str:
    """The body of the section; empty where no query changed."""
    several = len(report.dataset_names) > 1
    parts = [_changes(item, several) for item in changes if item.gained or item.lost]
    return _INTRO + "".join(parts) if parts else ""


def _changes(item: Changes, several: bool) -> str:
    where = f' <span class="soft">on {escape(item.dataset)}</span>' if several else ""
    title = f"{escape(item.system)} against {escape(item.baseline)}"
    blocks = []
    for heading, queries in (("Ahead", item.gained), ("Behind", item.lost)):
        if queries:
            blocks.append(f"<h3>{heading}</h3>{''.join(map(_query, queries))}")
    return f"<details><summary>{title}{where}</summary>{''.join(blocks)}</details>"


def _query(query: ChangedQuery) -> str:
    text = escape(query.text) if query.text else f"Query {escape(query.query_id)}"
    sides = "".join(_answer(answer) for answer in (query.system, query.baseline))
    return (
        f'<article class="query"><h4>{text}</h4><p class="soft">query {escape(query.query_id)}, '
        f'{query.difference:+.4f}</p><div class="sides">{sides}</div></article>'
    )


def _answer(answer: Answer) -> str:
    first = f", first relevant at rank {answer.first_relevant}" if answer.first_relevant else ""
    hits = f"<ol>{''.join(map(_hit, answer.hits))}</ol>" if answer.hits else "<p>Nothing was found.</p>"
    return (
        f"<section><h5>{escape(answer.system)}</h5>"
        f'<p class="soft">NDCG@10 {answer.ndcg_at_10:.4f}{first}</p>{hits}</section>'
    )


def _hit(hit: ShownHit) -> str:
    grade = "" if hit.grade is None else f' <span class="chip {_kind(hit.grade)}">grade {hit.grade}</span>'
    text = f"<br>{escape(hit.text)}" if hit.text else ""
    terms = f'<ul class="terms">{"".join(map(_term, hit.terms))}</ul>' if hit.terms else ""
    return f'<li><b>{escape(hit.id)}</b> <span class="soft">{hit.score:.3f}</span>{grade}{text}{terms}</li>'


def _kind(grade: int) -> str:
    return "better" if grade > 0 else "worse"


def _term(term: TermContribution) -> str:
    learned = " learned" if term.kind == "learned" else ""
    title = f"query {term.query_weight:.3f} × document {term.document_weight:.3f}"
    if learned:
        title += ", added by the encoder"
    return (
        f'<li class="chip{learned}" title="{title}">{escape(term.term)} '
        f'<span class="soft">{term.contribution:.2f}</span></li>'
    )
