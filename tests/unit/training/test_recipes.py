"""Recipes of every kind: what they may say, and the sentence for what they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr.errors import InputError
from lsr.training.recipe import read_recipe, stages_of
from lsr.training.recipe_distil import AdaptRecipe, DistilRecipe

TEXT = """
kind: distil
name: mine
student: {kind: idf, model: somewhere, lora: {rank: 4}}
teachers:
  - {kind: dense, model: a}
  - {kind: lexical, weight: 0.5}
loss: {kl: 1, margin-mse: 0.05}
regulariser: {document: {kind: flops, weight: 1e-7}}
optimiser: {lr: 2e-5, steps: 7}
stages:
  - {ensemble: {scale: 10}}
  - {regulariser: {document: {weight: 0.02}}, optimiser: {steps: 3}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return str(file)


def test_every_level_is_read(recipe: str) -> None:
    read = read_recipe(recipe, ["teachers.1.weight=2", "student.architecture={model_type: bert, pad: null}"])
    assert isinstance(read, DistilRecipe)
    assert read.student.lora is not None and read.student.lora.rank == 4
    assert read.student.architecture == {"model_type": "bert", "pad": None}
    assert [(t.kind, t.weight) for t in read.teachers] == [("dense", 1.0), ("lexical", 2.0)]
    assert read.loss == {"kl": 1.0, "margin-mse": 0.05}
    assert read.regulariser.query is None


def test_stages_build_on_each_other(recipe: str) -> None:
    read = read_recipe(recipe, ["stages.1.optimiser.steps=4"])
    first, second = stages_of(read)
    assert (first.ensemble.scale, first.optimiser.steps) == (10, 7)
    assert (second.ensemble.scale, second.optimiser.steps, second.optimiser.lr) == (10, 4, 2e-5)
    assert first.regulariser.document.weight == 1e-7 and second.regulariser.document.weight == 0.02
    assert stages_of(read_recipe(recipe, ["stages=null"]))[0].optimiser.steps == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("kind=other", "'other' is not one of project, distil, pretrain, adapt"),
        ("name=[]", "name: \\[\\] is no text"),
        ("optimiser.stepz=1", "unknown key 'optimiser.stepz'; optimiser knows lr,"),
        ("optimiser.steps=-1", "optimiser.steps: -1 is no whole number"),
        ("optimiser.steps=many", "optimiser.steps: 'many' is no whole number"),
        ("optimiser.precision=fp8", "'fp8' is no one of float32, bf16"),
        ("optimiser=3", "optimiser: 3 is no mapping"),
        ("teachers=[{model: x}]", "'teachers\\[0\\].kind' is not there"),
        ("teachers.7.kind=dense", "no entry '7'"),
        ("name.x=1", "name holds no keys"),
        ("loss.kl=much", "loss.kl: 'much' is no number"),
        ("stages=[1]", "stages: a list"),
        ("stages=[{student: {}}]", "'student' is the same in all stages"),
        ("stages=[{optimizer: {}}]", "stages\\[0\\]: unknown key 'optimizer'"),
        ("a={", "the value is not YAML"),
    ],
)
def test_a_fault_is_one_sentence(recipe: str, change: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_recipe(recipe, [change])
    assert "\n" not in str(caught.value)


def test_adapt_has_its_own_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "kind: adapt\nname: a\ncorpus: notes\ntraining: {optimiser: {steps: 3}}", encoding="utf-8"
    )
    read = read_recipe(str(file))
    assert isinstance(read, AdaptRecipe) and read.training == {"optimiser": {"steps": 3}}
    with pytest.raises(InputError, match="unknown key 'teachers'"):
        read_recipe(str(file), ["teachers=[]"])
