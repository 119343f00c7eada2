"""The model card: what a model is, what it was made from, by licence prefix, and what it cannot do."""

# ruff: noqa: E501 - the card is Markdown, where a table row is one line
from __future__ import annotations

from collections import Counter
from pathlib import Path

from lsr import __version__
from lsr.errors import DISTRIBUTION
from lsr.training.recipe import ProjectRecipe
from lsr.training.texts import Part, TextSource
from lsr.training.vocabulary import TermCounts


def write_card(
    path: Path, recipe: ProjectRecipe, source: TextSource, kept: float, counts: TermCounts
) -> None:
    """Write README.md into a model folder.

    Args:
        path: The model folder.
        recipe: What was asked for.
        source: What was read, and what was left out.
        kept: R squared of the fitted rows.
        counts: The counted passages.
    """
    text = f"""# {recipe.name}

An inference-free learned sparse encoder for English, made by `lsr train` (version {__version__}, recipe
`project`): documents get the weights of their own words and up to {recipe.terms} learned expansion terms; a query is
only split into stems and looked up.

| | |
|---|---|
| vocabulary | {recipe.vocabulary:,} Porter stems, the teacher's word pieces for unknown words, 262,144 open columns |
| neural side | reads the first {recipe.max_length} word pieces of a document, int8, on ONNX Runtime |
| lexical side | reads the whole document (k1 {recipe.lexical.k1}, b {recipe.lexical.b}, neutral length {recipe.lexical.average_length:g} words) |
| query weights | the index's own inverse document frequency, with this model's table as the prior of {recipe.prior_documents:g} documents |
| rows | fitted in closed form on {recipe.texts:,} short texts at most; R squared of the query embeddings {kept:.3f} |
| teacher | {recipe.teacher} |

Use: `pip install {DISTRIBUTION}`, then `lsr.load_encoder("{recipe.name}")` or `lsr index CORPUS --index DIR`.

## What was seen in training

No labels and no judgements. The stems were counted in {counts.documents:,} passages. Text by set, part and id
prefix{_experiment(recipe)}:

{licence_table(source.used, source)}

Left out because its licence does not allow it in shipped weights:

{licence_table(source.refused, source)}

{source.held_out:,} readings of dev-part texts (sha256 of the id, mod 20, is 0) were left out too. A text that was read
in several stages counts once for each. The teacher itself has seen what its own card lists; for all-MiniLM-L6-v2
that is a billion sentence pairs, MS MARCO, Natural Questions, SQuAD and S2ORC among them. The projected model inherits that.

## Limits

English only. What stands behind word piece {recipe.max_length} of a document is matched by its words alone. Words outside the
vocabulary are matched, never expanded. Expansion follows topics more than details.
"""
    (path / "README.md").write_text(text, encoding="utf-8")


def _experiment(recipe: ProjectRecipe) -> str:
    return " (an EXPERIMENT: text that the licence table refuses was taken too)" if recipe.experiment else ""


def licence_table(counted: Counter[tuple[str, Part, str]], source: TextSource) -> str:
    """What was counted as a Markdown table: set, part, id prefix, readings, licence, attribution."""
    if not counted:
        return "(nothing)"
    lines = ["| set | part | prefix | readings | licence | attribution |", "|---|---|---|---|---|---|"]
    for (folder, part, prefix), count in sorted(counted.items()):
        row = source.licences.decide(folder, part, prefix) if source.licences else None
        licence, attribution = (row.licence, row.attribution) if row else ("not stated", "")
        lines.append(f"| {folder} | {part} | {prefix} | {count:,} | {licence} | {attribution} |")
    return "\n".join(lines)
