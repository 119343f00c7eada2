"""`lsr train`: make a model of one's own from a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from lsr.cli.options import common_options, json_option


@click.command("train", short_help="Make a model of your own from a recipe.")
@click.argument("recipe")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change a value of the recipe.")
@click.option("--output", type=click.Path(path_type=Path), help="Model folder to write (else ./NAME).")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="LSR_DATA",
    default=Path("."),
    show_default=True,
    help="Folder of the data sets that the recipe names; also LSR_DATA.",
)
@click.option("--resume", is_flag=True, help="Go on: embeddings that are cached are not made again.")
@click.option("--dry-run", is_flag=True, help="Check the recipe and its data, count the text, train nothing.")
@json_option
@common_options
def command(
    recipe: str,
    changes: tuple[str, ...],
    output: Path | None,
    data_dir: Path,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a model from a recipe: a YAML file, or the name of one that ships (`project`).

    `project` turns a dense sentence encoder and unlabelled text into an inference-free sparse model.

    \b
    Example:
      lsr train project --data-dir data --output my-model
      lsr train my-recipe.yaml --set terms=150 --set lexical.k1=1.2
      lsr train project --dry-run
    """
    from lsr.training.project import open_source, short_texts, train_project
    from lsr.training.recipe import read_recipe

    read = read_recipe(recipe, changes)
    if dry_run:
        source = open_source(read, data_dir)
        texts = len(short_texts(read, source))
        facts = {"name": read.name, "texts": texts, "refused": sum(source.refused.values())}
        click.echo(
            json.dumps(facts) if as_json else f"{read.name}: {texts:,} short texts; nothing was trained."
        )
        return
    report = train_project(read, data_dir, output or Path(read.name))
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        click.echo(
            f"{report.name} in {report.path}: {report.stems:,} stems, rows fitted on {report.texts:,} texts "
            f"(R squared {report.r_squared})."
        )
