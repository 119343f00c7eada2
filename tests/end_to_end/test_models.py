"""`lsr models`: what is known about each, and what one would need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lsr.encoders.loading import bundled_models

FACTS = {
    "name", "aliases", "default", "kind", "description", "max_length", "query_weights", "bytes", "path",
}  # fmt: skip
BERT = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 512, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip


def test_the_list(lsr) -> None:
    models = {model["name"]: model for model in lsr("models", "--json").json()}
    assert all(set(model) == FACTS for model in models.values())
    assert [name for name, model in models.items() if model["default"]] == ["lsr-en-1"]
    assert (models["bm25"]["kind"], models["bm25"]["max_length"]) == ("lexical", None)
    assert (models["lsr-en-1"]["kind"], models["lsr-en-1"]["max_length"]) == ("projected", 192)
    assert models["lsr-en-1"]["bytes"] > 30e6
    shown = lsr("models").out
    assert "bm25  lexical" in shown and "lsr-en-1 (the default)  projected" in shown
    assert "reads 192 word pieces" in shown and "reads whole texts" in shown


def test_folders_join_the_list(lsr, tmp_path: Path) -> None:
    shutil.copytree(bundled_models()["bm25"], tmp_path / "mine")
    decoder = tmp_path / "decoder"
    decoder.mkdir()
    (decoder / "lsr_decoder.json").write_text(
        json.dumps({"format": 1, "settings": {"max_length": 64}}), encoding="utf-8"
    )
    models = lsr("models", tmp_path / "mine", decoder, "--json").json()
    assert [model["kind"] for model in models[-2:]] == ["lexical", "decoder"]
    assert models[-1]["name"] == "decoder" and models[-1]["max_length"] == 64
    assert "decoder  decoder" in lsr("models", decoder).out
    (tmp_path / "empty").mkdir()
    done = lsr("models", tmp_path / "empty")
    assert done.code == 2 and "empty" in done.last and done.out == ""
    assert "nowhere" in lsr("models", tmp_path / "nowhere").last


@pytest.mark.torch
def test_a_sparse_folder_joins_the_list(lsr, tmp_path: Path) -> None:
    from sparse_models import write_symmetric

    folder = write_symmetric(tmp_path / "splade")
    (model,) = [m for m in lsr("models", folder, "--json").json() if m["kind"] == "sparse folder"]
    assert model["name"] == "splade" and model["max_length"] > 0


def test_a_bundled_model_is_measured(lsr) -> None:
    plan = lsr("models", "--plan", "default", "--tokens", "16", "--json").json()
    assert plan["name"] == "lsr-en-1" and plan["max_length"] == 16
    assert plan["documents_per_hour"] == pytest.approx(3600 * plan["documents_per_second"])
    assert plan["peak_memory_bytes"] > 0
    shown = lsr("models", "--plan", "bm25").out
    assert "an hour" in shown and "whole texts" in shown


def test_a_language_model_is_computed_from_its_name(lsr) -> None:
    plan = lsr("models", "--plan", "mistral-7b", "--json").json()
    assert plan["parameters"] == 7_241_732_096 and plan["tokens"] == 256
    assert plan["weights"]["bfloat16"] == 2 * plan["parameters"]
    for device in plan["devices"]:
        assert device["documents_per_hour"] > 0 and device["assumption"]
    longer = lsr("models", "--plan", "mistral-7b", "--tokens", "512", "--json").json()
    assert longer["tokens"] == 512 and longer["body_flop"] > 2 * plan["body_flop"]
    shown = lsr("models", "--plan", "mistral-7b").out
    assert "7,241,732,096 parameters" in shown and "documents an hour, assuming" in shown


def test_a_folder_is_computed_from_its_configuration_alone(lsr, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BERT), encoding="utf-8")
    plan = lsr("models", "--plan", tmp_path, "--json").json()
    assert plan["family"] == "bert" and 4_000_000 < plan["parameters"] < 5_000_000
    assert plan["name"] == tmp_path.name and plan["attention"] is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--plan", "nothing"], ["bm25", "mistral-7b", "folder"]),
        (["--plan", "bm25", "--tokens", "5"], ["--tokens"]),
        (["--plan", "default", "--tokens", "5000"], ["512"]),
        (["--tokens", "5"], ["--plan"]),
        (["--plan", "bm25", "--tokens", "0"], ["--tokens"]),
        (["folder", "--plan", "bm25"], ["--plan"]),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(lsr, arguments: list[str], named: list[str]) -> None:
    done = lsr("models", *arguments)
    assert done.code == 2 and done.out == ""
    assert all(name in done.last for name in named) and "Traceback" not in done.err


def test_a_folder_without_a_model_has_no_plan(lsr, tmp_path: Path) -> None:
    done = lsr("models", "--plan", tmp_path)
    assert done.code == 2 and str(tmp_path) in done.last
