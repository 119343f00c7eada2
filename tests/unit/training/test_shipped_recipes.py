"""Every recipe that ships reads, and runs on a tiny model with its own losses, penalties and stages."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lsr.training.recipe import read_recipe, shipped_recipes

sys.path.insert(0, str(Path(__file__).parent))
from tiny_runs import train, write_world

TAUGHT = [{"kind": "lexical"}, {"kind": "sparse", "model": "bm25"}]
SMALL = {"steps": 6, "batch": 4, "candidates": 2, "micro_batch": 8, "warmup": 2, "precision": "float32"}
TINY = {
    "inference-free-idf": {"teachers": TAUGHT, "stages": [{}, {"ensemble": {"scale": 30}}]},
    "splade-v3-like": {"teachers": TAUGHT},
    "l0": {"teachers": TAUGHT},
    "li-lsr": {"teachers": TAUGHT},
    "dupmae-bow": {},
}


def test_recipes_that_ship_are_read() -> None:
    assert set(shipped_recipes()) == {*TINY, "project", "echo-mistral"}
    for name in shipped_recipes():
        assert read_recipe(name).name
    stages = read_recipe("inference-free-idf").stages
    assert [stage.ensemble.scale for stage in stages] == [10, 30]
    assert [stage.regulariser.document.weight for stage in stages] == [1e-7, 0.02]


@pytest.mark.torch
@pytest.mark.parametrize("name", TINY)
def test_a_recipe_that_ships_runs(name: str, tmp_path: Path) -> None:
    write_world(tmp_path)
    small = {**SMALL, **({"candidates": 1} if name == "dupmae-bow" else {})}
    changes = {
        "student.model": f"{tmp_path}/bert",
        "student.max_length": 32,
        "data.corpora": ["notes"],
        "data.queries": ["notes"] if name != "dupmae-bow" else [],
        **{f"optimiser.{key}": value for key, value in small.items()},
        "checkpoints.every": 3,
        **TINY[name],
    }
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    done = train(tmp_path, name, *options, "--output", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [stage["steps"] for stage in report["stages"]] == [6] * (2 if "stages" in TINY[name] else 1)
    assert (tmp_path / "out" / "README.md").is_file()
