"""A tiny random model and a tiny corpus, for runs of `lsr train` that take seconds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from sparse_models import WORDS, write_bert

NOTES = 120


def write_notes(folder: Path, *, seed: int = 0) -> Path:
    """A BEIR folder of passages of random words, with a query of three words for each."""
    (folder / "qrels").mkdir(parents=True)
    rng = random.Random(seed)
    words = [word for word in WORDS if not word.startswith("##")]
    passages, queries, rows = [], [], ["query-id\tcorpus-id\tscore"]
    for i in range(NOTES):
        sentences = [" ".join(rng.choices(words, k=7)).capitalize() + "." for _ in range(3)]
        text = " ".join(sentences)
        passages.append({"_id": f"d{i}", "title": " ".join(rng.sample(words, 3)), "text": text})
        queries.append({"_id": f"q{i}", "text": " ".join(rng.sample(text.split(), 3))})
        rows.append(f"q{i}\td{i}\t1")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, passages)), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)), encoding="utf-8")
    (folder / "qrels" / "train.tsv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def write_world(folder: Path) -> Path:
    """`data/notes` and a random masked language model `bert` in a folder."""
    write_notes(folder / "data" / "notes")
    write_bert(folder / "bert")
    return folder


def command(world: Path, recipe: str | Path, *more: str) -> list[str]:
    """The command line of a run in a process of its own."""
    return [sys.executable, "-m", "lsr", "train", str(recipe), "--data-dir", str(world / "data"), *more]


def environment(world: Path) -> dict[str, str]:
    """Its environment: one thread, and a cache of its own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LSR_CACHE_DIR": str(world / "cache")}


def train(world: Path, recipe: str | Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `lsr train` to its end."""
    return subprocess.run(
        command(world, recipe, *more), env=environment(world), capture_output=True, text=True, timeout=300
    )
