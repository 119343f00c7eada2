"""Text to stems: normalisation, word splitting, stemming and the pieces of unknown words.

The same analysis runs over documents and queries; whatever changes its output changes the fingerprint
of every model that uses it (`ANALYSIS_VERSION` is part of each model's configuration).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from Stemmer import Stemmer as Snowball

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ANALYSIS_VERSION = 1
STEMMER = "porter"
OPEN_COLUMNS = 1 << 18

# Scripts written without blanks: each character stands for itself, since nothing here can split words.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003fa1f"
)
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")


def normalise(text: str) -> str:
    """Unicode NFKC, lower case, accents removed.

    Example:
        >>> normalise("Crème BRÛLÉE ﬁne")
        'creme brulee fine'
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """The words of a text in order, normalised; underscores and punctuation separate.

    Example:
        >>> words("The C-reactive protein's level, snake_case")
        ['the', 'c', 'reactive', 'protein', 's', 'level', 'snake', 'case']
    """
    return _WORD.findall(normalise(text))


class Stemmer:
    """Porter's stemmer (Porter 1980, as in Snowball's `porter`), with a bounded memory of known words."""

    _LIMIT = 500_000

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def stems(self, tokens: Sequence[str]) -> list[str]:
        """The stem of each word.

        Example:
            >>> Stemmer().stems(["vaccines", "working", "2019"])
            ['vaccin', 'work', '2019']
        """
        known = self._known
        new = [word for word in set(tokens) if word not in known]
        if new:
            if len(known) + len(new) > self._LIMIT:
                known = {}
                new = list(set(tokens))
            # A Snowball object is not safe to share between threads; making one costs a microsecond.
            known.update(zip(new, Snowball(STEMMER, 0).stemWords(new), strict=True))
            self._known = known
        return [known[word] for word in tokens]


def open_column(stem: str) -> int:
    """The open column of a stem, in [0, OPEN_COLUMNS): CRC-32 of its UTF-8, folded.

    Two of n distinct unknown stems share a column with probability 1 / 2**18 each pair.
    """
    return zlib.crc32(stem.encode("utf-8")) & (OPEN_COLUMNS - 1)


def piece_name(piece: str) -> str:
    """The name of a word piece as a term: `"##ing"` stays, `"run"` becomes `"run##"`.

    Stems and pieces share one list of terms, and a piece that begins a word must not look like a stem.
    """
    return piece if piece.startswith("##") else f"{piece}##"


class Pieces:
    """The word pieces of single words (greedy longest match, as in BERT)."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = list(pieces)
        self._tokenizer: Tokenizer | None = None

    def split(self, word: str) -> list[int]:
        """Ids of the pieces of one normalised word; empty if it cannot be split."""
        if self._tokenizer is None:
            self._tokenizer = self._load()
        return [i for i in self._tokenizer.encode(word).ids if self._pieces[i] != "[UNK]"]

    def _load(self) -> Tokenizer:
        from tokenizers import Tokenizer, models

        vocabulary = {piece: i for i, piece in enumerate(self._pieces)}
        return Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
