"""The card of a projected model that was adapted to a corpus."""

# ruff: noqa: E501 - the card is Markdown, where a table row is one line
from __future__ import annotations

from pathlib import Path
from typing import Any

from lsr import __version__
from lsr.encoders.folder import ModelFolder
from lsr.training.card import licence_table
from lsr.training.collection import Collection
from lsr.training.recipe_distil import AdaptRecipe
from lsr.training.texts import TextSource


def write_adapt_card(
    path: Path,
    recipe: AdaptRecipe,
    begun: ModelFolder,
    source: TextSource,
    collection: Collection,
    report: Any,
    extra: int,
) -> None:
    """Write README.md into the new model's folder.

    Args:
        path: The folder.
        recipe: What was asked for.
        begun: The model that it began with.
        source: What was read.
        collection: The corpus with its pseudo-queries.
        report: A `lsr.training.adapt_rows.RowsReport`.
        extra: Further short texts that the rows were fitted on.
    """
    dev = ""
    if report.dev_before is not None and collection.dev is not None:
        dev = (
            f"| known-item search | {len(collection.dev.queries)} held-out titles find their passages with NDCG@10 {report.dev_before:.4f} "
            f"before and {report.dev_after:.4f} after |\n"
        )
    text = f"""# {recipe.name}

`{begun.settings.get("name")}`, adapted by `lsr train` (version {__version__}, kind `adapt`) to one corpus: no queries of users, no labels, no
judgements. Titles and sentences of the corpus served as pseudo-queries, and the rows of the projection were fitted on them
again in closed form; the body is unchanged.

| | |
|---|---|
| began with | {begun.settings.get("name")} ({begun.fingerprint}) |
| pseudo-queries | {len(collection.queries):,}, and {extra:,} further short texts |
| stems | {report.stems_added:,} added |
| ridge | {recipe.ridge:g} |
| R squared of held-out pseudo-queries | {report.r_squared_before:.3f} with the old rows, {report.r_squared:.3f} with the new ones |
{dev}
Use: `lsr index CORPUS --index DIR --encoder FOLDER` or `lsr.load_encoder("FOLDER")`.

## What was seen

{len(collection.documents):,} documents, each by all of its words. Readings by set and part:

{licence_table(source.used, source)}

What the model that it began with has seen is listed in its own card, and is inherited.

## Limits

Those of the model that it began with; and it now fits its corpus: on other text it may do worse than before. Pseudo-queries are
sentences and titles, not questions of users. Whether the new model is better for your queries, only your queries can tell:
compare both with `lsr eval` before you replace one.
"""
    (path / "README.md").write_text(text, encoding="utf-8")
