"""The card of a model that was trained by gradient: filled in from what the run did, nothing from memory."""

# ruff: noqa: E501 - the card is Markdown, where a table row is one line
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lsr import __version__
from lsr.progress import duration
from lsr.training.card import licence_table
from lsr.training.collection import Collection
from lsr.training.recipe import stages_of
from lsr.training.recipe_distil import DistilRecipe, RegulariserRecipe, TeacherRecipe
from lsr.training.texts import TextSource
from lsr.training.trainer import StageReport

_KINDS = {
    "symmetric": "one masked language model weighs documents and queries",
    "splade-doc": "a masked language model weighs documents; a query is the set of its word pieces",
    "idf": "a masked language model weighs documents; queries are looked up in a fixed table of inverse document frequencies",
    "table": "a masked language model weighs documents; queries are looked up in a learned table",
    "projected": "a dense body is read through a row for each stem, on a lexical floor; queries are looked up",
    "decoder": "a causal language model weighs documents and queries",
}


def write_training_card(
    path: Path,
    recipe: DistilRecipe,
    source: TextSource,
    collection: Collection,
    reports: Sequence[StageReport],
    exported: Mapping[str, Mapping[str, float]],
) -> None:
    """Write README.md into a model folder.

    Args:
        path: The model folder; a front matter that is there stays.
        recipe: What was asked for.
        source: What was read, and what was left out.
        collection: Of the last stage.
        reports: What each stage did.
        exported: What the exports lose.
    """
    stages = stages_of(recipe)
    parts = [
        _front_matter(path / "README.md"),
        f"# {recipe.name}\n",
        f"A learned sparse encoder made by `lsr train` (version {__version__}, kind `{recipe.kind}`): "
        f"{_KINDS[recipe.student.kind]}.\n",
        f'Use: `lsr.load_encoder("FOLDER")` or `lsr index CORPUS --index DIR --encoder FOLDER`{_also(recipe)}.\n',
        _facts(recipe, reports[-1]),
        *(_stage(number, *pair) for number, pair in enumerate(zip(stages, reports, strict=True), 1)),
        _curve(reports),
        _exports(exported),
        _data(source, collection),
        _limits(recipe, reports),
    ]
    (path / "README.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _front_matter(file: Path) -> str:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    end = text.find("\n---\n", 4)
    return text[: end + 5] if text.startswith("---\n") and end > 0 else ""


def _also(recipe: DistilRecipe) -> str:
    if recipe.student.kind in ("decoder", "projected"):
        return ""
    return "; `sentence_transformers.SparseEncoder(FOLDER)` opens it too"


def _facts(recipe: DistilRecipe, report: StageReport) -> str:
    student, last = recipe.student, report.last
    start = Path(student.model).name or f"random weights ({(student.architecture or {}).get('model_type')})"
    rows = [
        ("begun with", start + (" (vocabulary projection)" if student.init == "dense" else "")),
        ("activation", "log1p(log1p(relu(x)))" if student.activation == "log1p_relu" else "log1p(relu(x))"),
        ("reads", f"{student.max_length} word pieces of a document, {student.query_max_length} of a query"),
        ("seed", str(recipe.optimiser.seed)),
    ]
    if "document_terms" in last:
        rows.append(
            (
                "terms",
                f"{last['document_terms']:.0f} a document, {last['query_terms']:.1f} a query (last batch)",
            )
        )
        rows.append(("FLOPS", f"{last['flops']:.2f} terms shared by a query and a document on average"))
    if report.shipped_ndcg is not None:
        rows.append(("dev NDCG@10", f"{report.shipped_ndcg:.4f}, weights: {report.shipped}"))
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows) + "\n"


def _stage(number: int, stage: DistilRecipe, report: StageReport) -> str:
    options = stage.optimiser
    losses = ", ".join(f"{name} × {weight:g}" for name, weight in stage.loss.items() if weight)
    lines = [f"## Stage {number}\n", f"- losses: {losses}"]
    if stage.teachers:
        lines.append("- teachers: " + "; ".join(_teacher(teacher) for teacher in stage.teachers))
        lines.append(f"- ensemble: {stage.ensemble.normalisation}, scale {stage.ensemble.scale:g}")
    for side in ("document", "query"):
        regulariser = getattr(stage.regulariser, side)
        if regulariser is not None:
            lines.append(f"- regulariser of a {side}: {_regulariser(regulariser, options.steps)}")
    lines.append(
        f"- AdamW, learning rate {options.lr:g}"
        + (f" (query table {options.query_lr:g})" if options.query_lr else "")
        + f", {options.steps:,} steps of {options.batch} "
        + (f"queries with {options.candidates} documents each" if stage.kind == "distil" else "texts")
        + f", {options.precision}; {duration(report.seconds)}"
    )
    return "\n".join(lines) + "\n"


def _teacher(teacher: TeacherRecipe) -> str:
    what = {
        "lexical": f"BM25 over {teacher.analysis} (k1 {teacher.k1:g}, b {teacher.b:g})",
        "stored": "stored scores",
    }
    named = what.get(teacher.kind) or f"{teacher.kind} {Path(teacher.model).name}"
    return f"{named}, weight {teacher.weight:g}"


def _regulariser(one: RegulariserRecipe, steps: int) -> str:
    text = f"{one.kind}, weight {one.weight:g}, quadratic ramp over {one.steps or max(steps // 3, 1):,} steps"
    if one.kind == "l0-flops":
        text += f", threshold {one.threshold}"
    return text + (f", {one.keep} heaviest terms kept" if one.keep else "")


def _curve(reports: Sequence[StageReport]) -> str:
    rows = [
        f"| {number} | {step:,} | {value:.4f} |"
        for number, report in enumerate(reports, 1)
        for step, value in report.dev
    ]
    if not rows:
        return ""
    return (
        "## NDCG@10 on the dev part\n\nHeld-out queries of the training sets, searched in a sample of their documents; no other "
        "set was looked at.\n\n| stage | step | NDCG@10 |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _exports(exported: Mapping[str, Mapping[str, float]]) -> str:
    if not exported:
        return ""
    rows = [
        f"| {name} | {facts.get('largest_difference', 0):.2g} | {facts['ndcg_at_10']:.4f} |"
        if "ndcg_at_10" in facts
        else f"| {name} | {facts.get('largest_difference', 0):.2g} | |"
        for name, facts in exported.items()
    ]
    return (
        "## ONNX\n\n`onnx/` holds the document side as graphs. Difference: of a weight to PyTorch's, over the largest weight; NDCG@10 "
        "on a part of the dev set.\n\n| arithmetic | largest difference | NDCG@10 |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _data(source: TextSource, collection: Collection) -> str:
    experiment = (
        " (an EXPERIMENT: text that the licence table refuses was taken too)" if source.experiment else ""
    )
    dev = 0 if collection.dev is None else len(collection.dev.queries)
    return f"""## What was seen in training

{len(collection.documents):,} documents, {len(collection.queries):,} queries, {len(collection.positives):,} pairs of a query and a document that
answers it; {dev:,} dev queries were held out (sha256 of the id, mod 20, is 0). Text by set, part and id prefix{experiment}:

{licence_table(source.used, source)}

Left out because its licence does not allow it in shipped weights:

{licence_table(source.refused, source)}

What the student began with, and its teachers, have seen what their own cards list; the model inherits that.
"""


def _limits(recipe: DistilRecipe, reports: Sequence[StageReport]) -> str:
    lines = [
        "## Limits\n",
        f"What stands behind word piece {recipe.student.max_length} of a document is not read. Languages, domains and kinds of text that "
        "the tables above do not name were not seen. Nothing here was measured on anyone's evaluation set.",
    ]
    alarms = [
        f"- stage {n}, step {step:,}: {text}" for n, r in enumerate(reports, 1) for step, text in r.alarms
    ]
    if alarms:
        lines += ["\nWarnings raised while it was trained:\n", *alarms]
    return "\n".join(lines) + "\n"
