"""The process in which Java runs: splits texts into terms with Anserini's default analysis.

`lsr.training.teachers.lucene` starts it (`python -m lsr.training.teachers.lucene_child TEXTS TERMS`) with
the environment that pyserini needs. Both files hold JSON: a list of texts, a list of lists of terms.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path


def main(asked: Path, answer: Path) -> None:
    """Splits what one file holds, and writes the other."""
    analysis = import_module("pyserini.analysis")
    analyzer = analysis.Analyzer(analysis.get_lucene_analyzer())
    texts = json.loads(asked.read_text(encoding="utf-8"))
    terms = [[str(term) for term in analyzer.analyze(text)] if text.strip() else [] for text in texts]
    answer.write_text(json.dumps(terms), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
