"""Lucene for the lexical teacher: Anserini's default analysis, and document lengths as Lucene stores them.

Texts are split by pyserini in a process of its own (`lsr.training.teachers.lucene_child`), as Java cannot be
unloaded; BM25 itself is computed here, from the same numbers that Lucene has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsr.eval.lucene import LuceneError, java_environment

_EXACT = 24  # lengths below this one are stored as they are


class LuceneAnalysis:
    """Porter stems and Lucene's stop words, as Anserini indexes English.

    Raises:
        MissingExtraError: pyserini or a Java for it is not installed.
    """

    name = "lucene"
    block = 1 << 16  # Java starts once a block

    def __init__(self) -> None:
        self._environment = java_environment()
        self.fingerprint = f"lucene {version('pyserini')}"

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """See `Analysis.split`.

        Raises:
            LuceneError: Java failed.
        """
        with tempfile.TemporaryDirectory(prefix="lsr-lucene-") as home:
            asked, answer = Path(home) / "texts.json", Path(home) / "terms.json"
            asked.write_text(json.dumps(list(texts)), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-P", "-m", "lsr.training.teachers.lucene_child", str(asked), str(answer)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
            if done.returncode != 0 or not answer.is_file():
                last = " / ".join(line for line in done.stderr.splitlines() if line.strip())[-300:]
                raise LuceneError(
                    f"Lucene ended with code {done.returncode} ({last}): check that JAVA_HOME names a JDK 21 "
                    "or newer."
                )
            found: list[list[str]] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def stored_lengths(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Document lengths as Lucene keeps them, in one byte: exact below 40, then with four leading bits of what
    is above 24.

    Args:
        lengths: int64 [n], at least 0.

    Returns:
        int64 [n], what is read back.

    Source:
        `SmallFloat.intToByte4` and `byte4ToInt` of Lucene.

    Example:
        >>> stored_lengths(np.array([7, 39, 40, 41, 100, 1000])).tolist()
        [7, 39, 40, 40, 96, 984]
    """
    above = np.maximum(lengths - _EXACT, 0)
    bits = np.zeros(len(lengths), np.int64)
    rest = above.copy()
    while rest.any():
        bits += rest > 0
        rest >>= 1
    shift = np.maximum(bits - 4, 0)
    return np.where(lengths < _EXACT, lengths, _EXACT + ((above >> shift) << shift))
