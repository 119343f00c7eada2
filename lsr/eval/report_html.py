"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

The style sheet lies in `report_style.css` beside this module and is put into the page; plots come from
`lsr.eval.report_figures`, tables from `lsr.eval.report_table`, queries from `lsr.eval.report_queries`. Every
name and text goes through `html.escape`, and a content policy in the page forbids a browser to load or run
anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from unicodedata import category

from lsr.eval.published import compare_with_published, published_sheet
from lsr.eval.query_changes import query_changes
from lsr.eval.report import EvaluationReport
from lsr.eval.report_figures import Figures
from lsr.eval.report_queries import changes_section
from lsr.eval.report_table import (
    SIGNS,
    Cell,
    Row,
    Sheet,
    cost_sheet,
    headline_sheet,
    one_line,
    quality_sheet,
    significance_sheet,
)

_MARKED = {
    "better": "significantly better than the baseline",
    "worse": "significantly worse than the baseline",
    "noisy": "measured on a busy machine: not to be quoted",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def to_html(report: EvaluationReport) -> str:
    """The page, from its document type to its end."""
    page = _Page(report)
    sections = [(id, title, body) for id, title, body in page.sections() if body]
    links = "".join(f'<li><a href="#{id}">{escape(title)}</a></li>' for id, title, _ in sections)
    parts = [f'<section id="{id}"><h2>{escape(title)}</h2>{body}</section>' for id, title, body in sections]
    style = (files("lsr.eval") / "report_style.css").read_text(encoding="utf-8")
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(page.title)}</title><style>\n{style}</style></head>\n<body>"
        f"<header><h1>{escape(page.title)}</h1><p>{escape(page.summary)}</p>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>\n'
    )
    return _printable(text + "\n".join(parts) + "\n</main></body></html>\n")


class _Page:
    """The sections of one page."""

    def __init__(self, report: EvaluationReport) -> None:
        self.report = report
        self._figures = Figures(report)

    @property
    def title(self) -> str:
        """What the page is called."""
        names = self.report.dataset_names
        shown = ", ".join(names) if len(names) <= 4 else f"{len(names)} data sets"
        return f"Evaluation on {shown}" if names else "Evaluation"

    @property
    def summary(self) -> str:
        """How many systems and data sets there are, and what they are compared with."""
        systems, datasets = len(self.report.system_names), len(self.report.dataset_names)
        text = f"{_counted(systems, 'system')} on {_counted(datasets, 'data set')}"
        return f"{text}, compared with {self.report.baseline}." if self.report.baseline else f"{text}."

    def sections(self) -> Iterator[tuple[str, str, str]]:
        """The sections in their order: id, heading, and body (empty for one with nothing to show)."""
        report = self.report
        yield "ndcg", "NDCG@10", table_html(headline_sheet(report), named="system")
        yield "quality-and-cost", "Quality against cost", self._figures.cost()
        yield "overlap", "Approximate search", self._figures.overlap()
        yield "significance", "Is the difference real?", self._significance()
        yield "queries", "Query by query", self._figures.queries()
        yield "changes", "Queries that changed most", changes_section(query_changes(report), report)
        yield "quality", "All measures", table_html(quality_sheet(report), self._facts())
        yield "cost", "Cost", table_html(cost_sheet(report), self._facts())
        if compare_with_published(report):
            yield "published", "Against published numbers", table_html(published_sheet(report))
        yield "method", "How this was measured", self._method()

    def _significance(self) -> str:
        if not self.report.comparisons:
            return ""
        return self._figures.intervals() + table_html(significance_sheet(self.report), self._facts())

    def _facts(self) -> dict[str, str]:
        """What a table says beside the name of a data set."""
        facts = {}
        for item in self.report.results:
            counts = (_counted(len(item.measured), "query"), _counted(item.run.documents, "document"))
            facts[item.dataset] = ", ".join(counts)
        return facts

    def _method(self) -> str:
        parts = []
        machine = dict(self.report.machine)
        command = machine.pop("command", "")
        if command:
            parts.append(f"<h3>Command</h3><pre><code>{escape(command)}</code></pre>")
        if machine:
            rows = "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in machine.items()
            )
            parts.append(f"<h3>Machine</h3><dl>{rows}</dl>")
        if self.report.notes:
            rows = "".join(f"<li>{escape(note)}</li>" for note in self.report.notes)
            parts.append(f"<h3>Notes</h3><ul>{rows}</ul>")
        parts.append(_RULES)
        return "".join(parts)


def table_html(sheet: Sheet, facts: dict[str, str] | None = None, *, named: str = "system") -> str:
    """A sheet as a table that scrolls by itself where the screen is too narrow.

    Args:
        sheet: The table.
        facts: What is said beside the name of a group.
        named: Heading of the first column.
    """
    kinds = [' class="text"' if place in sheet.words else "" for place in range(len(sheet.columns))]
    headings = "".join(
        f'<th scope="col"{kind}>{_breakable(column)}</th>'
        for column, kind in zip(sheet.columns, kinds, strict=True)
    )
    body: list[str] = []
    before = None
    for row in sheet.rows:
        if row.group != before or not body:
            body.append(f"{'</tbody>' if body else ''}<tbody>")
            if sheet.grouped:
                body.append(_group_html(row.group, len(sheet.columns) + 1, (facts or {}).get(row.group, "")))
        body.append(_row_html(row, kinds))
        before = row.group
    legend = f'<p class="soft">{escape(sheet.legend)}</p>' if sheet.legend else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(sheet.title)}"><table>'
        f'<thead><tr><th scope="col">{escape(named)}</th>{headings}</tr></thead>'
        f"{''.join(body)}{'</tbody>' if body else ''}</table></div>{legend}"
    )


def _group_html(name: str, columns: int, facts: str) -> str:
    said = f' <span class="soft">{escape(facts)}</span>' if facts else ""
    return f'<tr><th scope="rowgroup" colspan="{columns}"><span>{escape(name)}{said}</span></th></tr>'


def _row_html(row: Row, kinds: Sequence[str]) -> str:
    cells = "".join(_cell_html(cell, kind) for cell, kind in zip(row.cells, kinds, strict=True))
    return f'<tr><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _cell_html(cell: Cell, kind: str) -> str:
    text = f"<strong>{escape(cell.text)}</strong>" if cell.strong else escape(cell.text)
    if cell.mark:
        said = _MARKED[cell.mark]
        text += f'<abbr class="{cell.mark}" title="{said}">{SIGNS[cell.mark]}</abbr>'
    return f"<td{kind}>{text}</td>"


def _breakable(heading: str) -> str:
    return escape(one_line(heading)) if "\n" not in heading else "<br>".join(map(escape, heading.split("\n")))


def _counted(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _printable(text: str) -> str:
    """Without the control characters that HTML does not allow."""
    return "".join(" " if category(char) == "Cc" and char != "\n" else char for char in text)


_RULES = """<h3>Rules</h3><ul>
<li>Every judged query counts; one for which nothing was found has 0.0.</li>
<li>A document with the query's own id is dropped from its ranking, as BEIR does.</li>
<li>NDCG@10 has the grade as gain and log2(rank + 1) as discount; the ideal is over all judged documents.</li>
<li>p is that of a two-sided paired randomisation test (100,000 draws), intervals are percentile bootstrap
intervals (10,000 samples of the queries), Holm's correction is over the systems of a data set.</li>
<li>flops is the expected number of terms that a query and a document share; flops weights the sum over terms
of the squared mean weight in a document.</li>
</ul>"""
