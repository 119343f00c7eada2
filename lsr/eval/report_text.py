"""A report as text: CSV for other programs, LaTeX for a paper, Markdown for the page of a project."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any
from unicodedata import category

from lsr.eval.published import compare_with_published, published_sheet
from lsr.eval.report import EvaluationReport, comparison_to_json, result_to_json
from lsr.eval.report_table import (
    SIGNS,
    Cell,
    Sheet,
    cost_sheet,
    headline_sheet,
    one_line,
    quality_sheet,
    significance_sheet,
)

_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_LATEX_MARKS = {"": "", "better": r"$^{\dagger}$", "worse": r"$^{\ddagger}$", "noisy": r"$^{\approx}$"}
_LATEX_SIGNS = {"†": r"$\dagger$", "‡": r"$\ddagger$", "≈": r"$\approx$"}
_WIDE = 8
_COMPARED = ("dataset", "system", "measure", "queries")


def to_csv(report: EvaluationReport) -> str:
    """A line a data set and system: its result and its comparison with the baseline, in full precision."""
    rows = []
    compared = {(item.dataset, item.system): comparison_to_json(item) for item in report.comparisons}
    for result in report.results:
        row = dict(_flat(result_to_json(result)))
        found = compared.get((result.dataset, result.system), {})
        row |= {f"comparison_{key}": value for key, value in found.items() if key not in _COMPARED}
        rows.append(row)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_latex(report: EvaluationReport) -> str:
    """The tables for a paper: needs the packages booktabs and graphicx; best in bold, daggers explained."""
    lines = ["% Needs \\usepackage{booktabs} and \\usepackage{graphicx}."]
    for name, value in report.machine.items():
        lines.append("% " + _one_line(f"{name}: {value}"))
    for note in report.notes:
        lines.append("% " + _one_line(note))
    for sheet in _sheets(report):
        lines += ["", *_latex_table(sheet)]
    return "\n".join(lines) + "\n"


def to_markdown(report: EvaluationReport) -> str:
    """The tables in the Markdown of GitHub, with the machine and the notes."""
    lines = ["# Evaluation"]
    for sheet in _sheets(report):
        lines += ["", f"## {escape_markdown(sheet.title)}", "", *_markdown_table(sheet)]
        if sheet.legend:
            lines += ["", escape_markdown(sheet.legend)]
    if report.machine:
        lines += ["", "## Machine", ""]
        lines += [f"- {name}: {_markdown_code(value)}" for name, value in report.machine.items()]
    if report.notes:
        lines += ["", "## Notes", ""]
        lines += [f"- {escape_markdown(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it stands.

    Example:
        >>> escape_latex("a_b & 50%")
        'a\\\\_b \\\\& 50\\\\%'
    """
    return "".join(_LATEX.get(char, char) for char in _one_line(text))


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in a table too.

    Example:
        >>> escape_markdown("a_b | <c>")
        'a\\\\_b \\\\| &lt;c&gt;'
    """
    safe = _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#])", r"\\\1", safe)


def _sheets(report: EvaluationReport) -> Iterator[Sheet]:
    yield headline_sheet(report)
    yield quality_sheet(report)
    if report.comparisons:
        yield significance_sheet(report)
    yield cost_sheet(report)
    if compare_with_published(report):
        yield published_sheet(report)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested values: `latency_ms` becomes `latency_ms_p50` and its like."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}_")
        elif key == "spread":
            low, high = value or ("", "")
            yield f"{prefix}fastest", low
            yield f"{prefix}slowest", high
        else:
            yield f"{prefix}{key}", value


def _latex_table(sheet: Sheet) -> Iterator[str]:
    names = ["Data set", "System"] if sheet.grouped else ["System"]
    wide = len(names) + len(sheet.columns) > _WIDE
    yield "\\begin{table}[t]"
    yield "\\centering"
    caption = escape_latex(f"{sheet.title}. {sheet.legend}".strip())
    for sign, command in _LATEX_SIGNS.items():
        caption = caption.replace(sign, command)
    yield f"\\caption{{{caption}}}"
    if wide:
        yield "\\resizebox{\\linewidth}{!}{%"
    columns = "".join("l" if place in sheet.words else "r" for place in range(len(sheet.columns)))
    yield f"\\begin{{tabular}}{{{'l' * len(names)}{columns}}}"
    yield "\\toprule"
    headings = [*names, *(escape_latex(one_line(column)) for column in sheet.columns)]
    yield f"{' & '.join(headings)} \\\\"
    yield "\\midrule"
    before = sheet.rows[0].group if sheet.rows else ""
    for place, row in enumerate(sheet.rows):
        first = not place or row.group != before
        if place and first:
            yield "\\midrule"
        group = [escape_latex(row.group) if first else ""] if sheet.grouped else []
        yield f"{' & '.join([*group, escape_latex(row.name), *map(_latex_cell, row.cells)])} \\\\"
        before = row.group
    yield "\\bottomrule"
    yield "\\end{tabular}%" if wide else "\\end{tabular}"
    if wide:
        yield "}"
    yield "\\end{table}"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if re.match(r"[+-]", text):
        text = f"${text}$" if re.fullmatch(r"[+-][\d.,]+", text) else re.sub(r"([+-][\d.]+)", r"$\1$", text)
    return (f"\\textbf{{{text}}}" if cell.strong else text) + _LATEX_MARKS[cell.mark]


def _markdown_table(sheet: Sheet) -> Iterator[str]:
    names = ["data set", "system"] if sheet.grouped else ["system"]
    yield f"| {' | '.join([*names, *(escape_markdown(one_line(column)) for column in sheet.columns)])} |"
    rules = ("---|" if place in sheet.words else "---:|" for place in range(len(sheet.columns)))
    yield f"|{'---|' * len(names)}{''.join(rules)}"
    for row in sheet.rows:
        group = [escape_markdown(row.group)] if sheet.grouped else []
        cells = [_markdown_cell(cell) for cell in row.cells]
        yield f"| {' | '.join([*group, escape_markdown(row.name), *cells])} |"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return (f"**{text}**" if cell.strong else text) + SIGNS[cell.mark]


def _markdown_code(text: str) -> str:
    """Text as code, whatever backticks are in it."""
    flat = _one_line(text)
    longest = max((len(run) for run in re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    blank = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{blank}{flat}{blank}{fence}"


def _one_line(text: str) -> str:
    """Without line breaks and other control characters."""
    return " ".join("".join(" " if category(char) == "Cc" else char for char in text).split())
