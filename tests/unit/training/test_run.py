"""Whole runs of `lsr train` on a tiny model: resumed ones, refused ones, what they leave behind."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import lsr
from lsr.cli import cli

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import sys  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from tiny_runs import command, environment, train, write_world  # noqa: E402

RECIPE = """
kind: distil
name: tiny
student: {{kind: table, model: {world}/bert, max_length: 32, dropout: 0.1}}
data: {{corpora: [notes], queries: [notes], titles: [notes]}}
loss: {{info-nce: 1}}
regulariser: {{document: {{kind: df-flops, weight: 0.001}}, query: {{kind: l1, weight: 0.001}}}}
optimiser: {{steps: 30, batch: 8, candidates: 1, micro_batch: 4, lr: 1e-3, query_lr: 1e-2, in_batch: true}}
checkpoints: {{every: 4, keep: 2, average: 3}}
dev: {{every: 7, documents: 60}}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_world(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(world=tmp_path), encoding="utf-8")
    return tmp_path


def losses(output: Path) -> list[dict[str, str]]:
    with (output / "training" / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in ("texts_a_second", "seconds"):
            row.pop(name)
    return rows


def test_a_killed_run_resumes_to_the_same_losses(world: Path) -> None:
    """kill -9 in the middle, twice; then log, dev curve and weights are those of an unbroken run."""
    recipe = world / "tiny.yaml"
    whole = train(world, recipe, "--output", str(world / "whole"))
    assert whole.returncode == 0, whole.stderr
    output = str(world / "broken")
    log = world / "broken.run" / "log.csv"
    for lines in (10, 20):
        extra = ["--resume"] if lines > 10 else []
        process = subprocess.Popen(
            command(world, recipe, "--output", output, *extra),
            env=environment(world),
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if log.is_file() and len(log.read_text().splitlines()) > lines:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (world / "broken").exists()
    refused = train(world, recipe, "--output", output)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    other = train(world, recipe, "--output", output, "--resume", "--set", "optimiser.lr=1e-4")
    assert other.returncode == 2 and "another optimiser.lr" in other.stderr
    resumed = train(world, recipe, "--output", output, "--resume")
    assert resumed.returncode == 0 and "Going on from step" in resumed.stderr, resumed.stderr
    assert losses(world / "broken") == losses(world / "whole")
    one, two = (
        torch.load(world / f"{name}.run/stage-1/step-00000030.pt", weights_only=True)
        for name in ("whole", "broken")
    )
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert lsr.load_encoder(world / "broken").fingerprint == lsr.load_encoder(world / "whole").fingerprint


def test_what_a_run_leaves_behind(world: Path) -> None:
    done = train(world, world / "tiny.yaml", "--output", str(world / "out"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["stages"][0]["steps"] == 30 and report["dev_ndcg_at_10"] > 0
    assert {step for step, _ in report["stages"][0]["dev"]} == {7, 14, 21, 28, 30}
    assert report["exported"]["float32"]["largest_difference"] < 1e-4
    assert report["exported"]["int8" if "int8" in report["exported"] else "int7"]["ndcg_at_10"] > 0
    out = world / "out"
    assert (out / "training" / "log.svg").read_text().startswith("<svg")
    assert (out / "onnx" / "document.onnx").stat().st_size > 1000
    assert sorted(p.name for p in (world / "out.run" / "stage-1").glob("step-*")) == [
        f"step-000000{step}.pt" for step in (24, 28, 30)
    ]
    card = (out / "README.md").read_text(encoding="utf-8")
    for part in (
        "info-nce × 1",
        "df-flops",
        "learned table",
        "| notes | corpus |",
        "NDCG@10",
        "library_name",
    ):
        assert part in card
    encoder = lsr.load_encoder(out)
    assert encoder.encode_queries(["vaccine market"]).nnz == 2
    assert "texts/s" in done.stderr and "terms/doc" in done.stderr


def test_a_fault_is_one_sentence_before_anything_is_loaded(world: Path) -> None:
    for change, says in (
        ("student.model=nowhere", "student.model names 'nowhere'"),
        ("student.model=''", "names no model"),
        ("data.corpora=[absent]", "'absent'"),
        ("loss={kl: 1}", "kl learns from teachers"),
        ("loss={mlm: 1}", "no 'mlm'"),
        ("loss={info-nce: 0}", "one of them above 0"),
        ("optimiser.in_batch=false", "set in_batch: true"),
        ("optimiser.steps=0", "optimiser.steps"),
        ("teachers=[{kind: dense}]", "dense teacher needs a model"),
        ("teachers=[{kind: sparse, model: lost}]", "'lost'"),
        ("teachers=[{kind: stored, path: lost.tsv}]", "lost.tsv is not there"),
        ("student.lora={rank: 2}", "kind decoder"),
        ("temperature=0", "temperature"),
        ("loss={pool-documents: 1}", "learns from teachers"),
    ):
        arguments = ["train", str(world / "tiny.yaml"), "--set", change, "--data-dir", str(world / "data")]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code != 0 and says in str(result.exception), (change, result.exception)


def test_a_dry_run_counts_and_trains_nothing(world: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["train", str(world / "tiny.yaml"), "--data-dir", str(world / "data"), "--dry-run", "--json"],
        catch_exceptions=False,
    )
    plan = json.loads(result.stdout)
    assert plan["parameters"] == plan["trained"] > 20_000
    assert plan["memory"] == sum(plan["memory_parts"].values())
    (stage,) = plan["stages"]
    assert (stage["documents"], stage["steps"], stage["texts"]) == (120, 30, 30 * 8 * 2)
    assert not (world / "tiny.run").exists()


def test_pre_training_learns_words(world: Path) -> None:
    recipe = world / "pre.yaml"
    recipe.write_text(
        f"kind: pretrain\nname: pre\nstudent: {{model: {world}/bert, max_length: 32}}\n"
        "data: {corpora: [notes]}\nloss: {mlm: 1, bow: 1}\n"
        "optimiser: {steps: 40, batch: 16, micro_batch: 8, lr: 3e-3}\ncheckpoints: {every: 20, average: 0}\n",
        encoding="utf-8",
    )
    done = train(world, recipe, "--output", str(world / "pre"), "--json")
    assert done.returncode == 0, done.stderr
    rows = losses(world / "pre")
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    assert json.loads(done.stdout)["dev_ndcg_at_10"] is None
    assert lsr.load_encoder(world / "pre").encode_documents(["the vaccine"]).nnz > 0


def test_an_ensemble_teaches_candidates_that_are_mined_again(world: Path) -> None:
    recipe = world / "taught.yaml"
    recipe.write_text(
        f"kind: distil\nname: taught\nstudent: {{kind: idf, model: {world}/bert, max_length: 32}}\n"
        "data: {corpora: [notes], queries: [notes]}\n"
        "teachers: [{kind: lexical, weight: 2}, {kind: sparse, model: bm25}]\n"
        "ensemble: {normalisation: min-max, scale: 30}\n"
        "negatives: {depth: 20, per_query: 12, rounds: 2}\n"
        "loss: {kl: 1, margin-mse: 0.05}\n"
        "optimiser: {steps: 40, batch: 8, candidates: 6, micro_batch: 16, lr: 3e-3}\n"
        "checkpoints: {every: 20, average: 0}\ndev: {every: 40, documents: 60}\n",
        encoding="utf-8",
    )
    done = train(world, recipe, "--output", str(world / "taught"), "--json")
    assert done.returncode == 0, done.stderr
    rows = losses(world / "taught")
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    kept = sorted(path.name for path in (world / "taught.run").rglob("candidates-*.npz"))
    assert kept == ["candidates-0.npz", "candidates-1.npz"]
    assert "with the student" in done.stderr
    card = (world / "taught" / "README.md").read_text(encoding="utf-8")
    assert "min-max, scale 30" in card
