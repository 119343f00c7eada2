"""The small real corpus that ships with the package: pages of tldr, questions of this project's own.

The folder `demo` beside this module has the BEIR layout, so the demo, the tests and the calibration of
strange encoders read it as they read any other data set. What is in it and under which licences is said
in its `ATTRIBUTION.md`; how it was chosen, in `docs/decisions/003-demo-corpus.md`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lsr.data.beir import BeirFolder


def demo_folder() -> BeirFolder:
    """The shipped corpus: 1,078 documents, and 64 questions with judgements in the split `test`.

    Returns:
        The folder; its documents, questions and judgements are read when they are asked for.

    Example:
        >>> len(demo_folder().queries())
        64
    """
    return BeirFolder(Path(str(files("lsr.data") / "demo")))
