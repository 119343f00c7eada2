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
    others = {"project", "adapt", "echo-mistral", "default-small"}
    assert set(shipped_recipes()) == {*TINY, *others}
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


def run_tiny(world: Path, name: str, changes: dict, *more: str) -> dict:
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    done = train(world, name, *options, "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SHORT = {f"optimiser.{key}": value for key, value in SMALL.items()} | {"checkpoints.every": 3}


@pytest.mark.torch
def test_default_small_trains_the_bundled_model_on(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    import lsr
    from lsr.encoders.loading import bundled_models

    write_world(tmp_path)
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    BertModel(BertConfig(**sizes), add_pooling_layer=False).save_pretrained(tmp_path / "body")
    changes = {
        "student.body": f"{tmp_path}/body",
        "student.max_length": 32,
        "data": {"corpora": ["notes"], "queries": ["notes"]},
        "teachers": TAUGHT,
        "dev": {"every": 3, "documents": 30},
        **SHORT,
    }
    report = run_tiny(tmp_path, "default-small", changes, "--output", str(tmp_path / "out"))
    assert report["stages"][0]["steps"] == 6 and report["exported"]["int8"]["largest_difference"] < 0.3
    before, after = lsr.load_encoder("lsr-en-1"), lsr.load_encoder(tmp_path / "out")
    assert after.dimension == before.dimension and after.fingerprint != before.fingerprint
    assert bundled_models()["lsr-en-1"].is_dir()
    plan = run_tiny(tmp_path, "default-small", changes, "--dry-run")
    assert plan["trained"] == report["parameters"] and plan["parameters"] == report["parameters"]


@pytest.mark.torch
def test_echo_mistral_runs_on_a_tiny_decoder_after_its_adaptation(tmp_path: Path) -> None:
    from decoder_models import write_tiny

    import lsr

    write_world(tmp_path)
    write_tiny(tmp_path / "decoder", attention="echo")
    changes = {
        "student.model": f"{tmp_path}/decoder",
        "student.max_length": 24,
        "data.corpora": ["notes"],
        "data.queries": [],
        **SHORT,
        "optimiser.candidates": 1,
    }
    adaptation = {**changes, "kind": "pretrain", "loss": {"clm": 1, "clm-relu": 1}}
    report = run_tiny(tmp_path, "echo-mistral", adaptation, "--output", str(tmp_path / "adapted"))
    assert {"clm", "clm-relu"} <= set(report["stages"][0]["last"])
    changes |= {"student.model": f"{tmp_path}/adapted", "data.queries": ["notes"]}
    report = run_tiny(tmp_path, "echo-mistral", changes, "--output", str(tmp_path / "out"))
    assert report["stages"][0]["steps"] == 6 and report["stages"][0]["dev"]
    assert lsr.load_encoder(tmp_path / "out").encode_documents(["the market"]).shape[0] == 1


@pytest.mark.torch
def test_echo_mistral_is_planned_at_full_size(tmp_path: Path) -> None:
    write_world(tmp_path)
    changes = {
        "student.architecture": {"model_type": "mistral"},
        "data.corpora": ["notes"],
        "data.queries": ["notes"],
    }
    plan = run_tiny(tmp_path, "echo-mistral", changes, "--dry-run")
    assert 7.2e9 < plan["parameters"] < 7.4e9
    assert 40e6 < plan["trained"] < 45e6  # rank 16 over the seven linear layers of 32 blocks
    assert plan["memory"] > 29e9
