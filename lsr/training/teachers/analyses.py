"""Text to terms for the lexical teacher: stems of words, word pieces of a model, Lucene's own analysis."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from lsr.encoders.analysis import ANALYSIS_VERSION, STEMMER, Stemmer, words
from lsr.encoders.loading import bundled_models
from lsr.encoders.tokens import NO_LIMIT, Tokeniser
from lsr.errors import InputError

AnalysisName = Literal["stems", "pieces", "lucene"]


class Analysis(Protocol):
    """Splits texts into terms.

    Attributes:
        name: For people.
        fingerprint: Changes whenever a term could.
        block: Texts that are worth one call.
    """

    @property
    def name(self) -> str:
        """`"stems"`, `"pieces"` or `"lucene"`."""

    @property
    def fingerprint(self) -> str:
        """Of everything that a term depends on."""

    @property
    def block(self) -> int:
        """Texts of a shard."""

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """The terms of each text, in order, each as often as it occurs."""


class Stems:
    """Porter stems of words, as in the bundled models; no stop words."""

    name = "stems"
    fingerprint = f"stems {STEMMER} {ANALYSIS_VERSION}"
    block = 8192

    def __init__(self) -> None:
        self._stemmer = Stemmer()

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """See `Analysis.split`.

        Example:
            >>> Stems().split(["Dogs, running dogs"])
            [['dog', 'run', 'dog']]
        """
        return [self._stemmer.stems(words(text)) for text in texts]


class WordPieces:
    """The word pieces of a model's tokenizer, whole texts, without special tokens.

    Args:
        model: A folder with `tokenizer.json`; None for the pieces of `lsr-en-1` (BERT's, lower case).

    Raises:
        InputFileError: No tokenizer there.
    """

    name = "pieces"
    block = 8192

    def __init__(self, model: str | None = None) -> None:
        path = Path(model) if model else bundled_models()["lsr-en-1"]
        self._tokeniser = Tokeniser(path, NO_LIMIT)
        self.fingerprint = f"pieces {hashlib.sha256(self._tokeniser.to_bytes()).hexdigest()}"

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """See `Analysis.split`."""
        vocabulary, special = self._tokeniser.vocabulary, self._tokeniser.special_ids
        rows, _ = self._tokeniser.encode(list(texts), special=False)
        return [[vocabulary[i] for i in row if i not in special] for row in rows]


def open_analysis(name: str, model: str | None = None) -> Analysis:
    """The analysis of a name.

    Args:
        name: `"stems"`, `"pieces"` or `"lucene"`.
        model: A folder with a tokenizer, for `"pieces"` alone.

    Raises:
        InputError: No such analysis, or a model for one that takes none.
        MissingExtraError: `"lucene"`, and pyserini or a Java for it is not installed.
    """
    if name == "pieces":
        return WordPieces(model)
    if model is not None:
        raise InputError(f"The analysis {name!r} takes no model; leave `model` out, or use pieces.")
    if name == "stems":
        return Stems()
    if name == "lucene":
        from lsr.training.teachers.lucene import LuceneAnalysis

        return LuceneAnalysis()
    raise InputError(f"There is no analysis {name!r}; choose stems, pieces or lucene.")
