"""`lsr train`: make a model of one's own from a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsr.cli.failures import Interrupted
from lsr.cli.options import common_options, json_option

if TYPE_CHECKING:
    from lsr.training.recipe import ProjectRecipe
    from lsr.training.recipe_distil import AdaptRecipe, DistilRecipe


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
@click.option(
    "--resume", is_flag=True, help="Go on from the last checkpoint; what is cached is not made again."
)
@click.option("--dry-run", is_flag=True, help="Check the recipe and its data, count, train nothing.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the student is trained.",
)
@json_option
@common_options
def command(
    recipe: str,
    changes: tuple[str, ...],
    output: Path | None,
    data_dir: Path,
    resume: bool,
    dry_run: bool,
    device: str,
    as_json: bool,
) -> None:
    """Make a model from a recipe: a YAML file, or the name of one that ships.

    `project` turns a dense sentence encoder and unlabelled text into an inference-free sparse model; `adapt`
    fits a model to a corpus of your own. The other recipes train by gradient, and go on after an interruption
    with --resume.

    \b
    Example:
      lsr train project --data-dir data --output my-model
      lsr train adapt --set corpus=my-corpus --output my-model
      lsr train my-recipe.yaml --set optimiser.steps=2000 --resume
      lsr train my-recipe.yaml --dry-run
      accelerate launch --num_processes 4 -m lsr train my-recipe.yaml
    """
    from lsr.training.recipe import ProjectRecipe, read_recipe
    from lsr.training.recipe_distil import DistilRecipe

    read = read_recipe(recipe, changes)
    target = output or Path(read.name)
    try:
        if isinstance(read, ProjectRecipe):
            _project(read, data_dir, target, dry_run, as_json)
        elif isinstance(read, DistilRecipe):
            _distil(read, data_dir, target, dry_run, as_json, resume=resume, device=device)
        else:
            _adapt(read, data_dir, target, dry_run, as_json, resume=resume, device=device)
    except KeyboardInterrupt:
        raise Interrupted("Stopped by the user; go on with the same command and --resume.") from None


def _tell(facts: dict[str, Any], sentence: str, as_json: bool) -> None:
    click.echo(json.dumps(facts) if as_json else sentence)


def _project(recipe: ProjectRecipe, data_dir: Path, output: Path, dry_run: bool, as_json: bool) -> None:
    from lsr.training.project import open_source, short_texts, train_project

    if dry_run:
        source = open_source(recipe, data_dir)
        texts = len(short_texts(recipe, source))
        facts = {"name": recipe.name, "texts": texts, "refused": sum(source.refused.values())}
        _tell(facts, f"{recipe.name}: {texts:,} short texts; nothing was trained.", as_json)
        return
    report = train_project(recipe, data_dir, output)
    sentence = (
        f"{report.name} in {report.path}: {report.stems:,} stems, rows fitted on {report.texts:,} texts "
        f"(R squared {report.r_squared})."
    )
    _tell(asdict(report), sentence, as_json)


def _distil(
    recipe: DistilRecipe,
    data_dir: Path,
    output: Path,
    dry_run: bool,
    as_json: bool,
    *,
    resume: bool,
    device: str,
) -> None:
    if dry_run:
        from lsr.training.planning import plan_training

        plan = plan_training(recipe, data_dir)
        _tell(plan.to_json(), "\n".join(plan.lines()), as_json)
        return
    from lsr.training.run import train

    report = train(recipe, data_dir, output, resume=resume, device=device)
    if report is None:  # another process speaks
        return
    parts = [f"{report.name} in {report.path}: {report.parameters:,} parameters"]
    if report.document_terms is not None:
        parts.append(f"{report.document_terms:.0f} terms a document, {report.query_terms:.1f} a query")
    if report.dev_ndcg_at_10 is not None:
        parts.append(f"dev NDCG@10 {report.dev_ndcg_at_10:.4f}")
    _tell(report.to_json(), ", ".join(parts) + f"; log and checkpoints in {report.work}.", as_json)


def _adapt(
    recipe: AdaptRecipe,
    data_dir: Path,
    output: Path,
    dry_run: bool,
    as_json: bool,
    *,
    resume: bool,
    device: str,
) -> None:
    from lsr.training.adapt import adapt, plan_adapt

    if dry_run:
        facts = plan_adapt(recipe, data_dir)
        sentence = (
            f"{recipe.name}: {facts['documents']:,} documents, {facts['queries']:,} pseudo-queries for a "
            f"{facts['kind']} model; nothing was trained."
        )
        _tell(facts, sentence, as_json)
        return
    report = adapt(recipe, data_dir, output, resume=resume, device=device)
    if report is not None:
        _tell(report.to_json(), report.sentence(), as_json)
