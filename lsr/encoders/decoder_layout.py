"""Where the tokens of a text stand before a decoder, and which of them are pooled.

A tokenised text is `[special tokens] prompt text [special tokens]`. Laid out, it is

- once (`"causal"`, `"bidirectional"`): as it is, `<s> prompt text </s>`;
- echoed (`"echo"`): `<s> prompt text text </s>`, special tokens and prompt once, at the two ends.

Pooled are the tokens of the (second) text alone. Special tokens and the prompt are the same for every
text, and the first token of a causal model sees nothing but itself: pooled, it would add one constant
vector to every document. A text without tokens has nothing to pool, and gets the empty vector.

Rows are padded on the right: positions then begin at 0 in every row, and no real token of a causal model
sees the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError


@dataclass(frozen=True, slots=True)
class LaidOut:
    """One text as the model reads it.

    Attributes:
        ids: All token ids.
        start: The first pooled token.
        stop: Behind the last pooled token; equal to `start` where there is none.
    """

    ids: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How one side (documents or queries) is laid out.

    Attributes:
        echo: Whether the text stands twice.
        leading: Special tokens that the tokenizer sets before a text.
        trailing: Special tokens that it sets behind.
        prompt: The prompt's tokens; as many of them as a row begins with are taken for the prompt, since a
            tokenizer may join its last piece with the text's first.
        padding: The id that fills a row.
    """

    echo: bool
    leading: int = 0
    trailing: int = 0
    prompt: tuple[int, ...] = ()
    padding: int = 0

    def lay_out(self, row: Sequence[int]) -> LaidOut:
        """Place a tokenised text.

        Example:
            >>> Layout(echo=True, leading=1, trailing=1, prompt=(7,)).lay_out([1, 7, 8, 9, 2])
            LaidOut(ids=(1, 7, 8, 9, 8, 9, 2), start=4, stop=6)
        """
        begin = min(self.leading, len(row))
        end = max(len(row) - self.trailing, begin)
        for token in self.prompt:
            if begin >= end or row[begin] != token:
                break
            begin += 1
        text = tuple(row[begin:end])
        before, behind = tuple(row[:begin]), tuple(row[end:])
        if not self.echo:
            return LaidOut((*before, *text, *behind), begin, begin + len(text))
        return LaidOut((*before, *text, *text, *behind), begin + len(text), begin + 2 * len(text))

    def collate(
        self, texts: Sequence[LaidOut]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Pad texts on the right to one batch.

        Returns:
            Ids int64 [B, L], real tokens bool [B, L], pooled tokens bool [B, L]; L is at least 1.
        """
        length = max([1, *(len(text.ids) for text in texts)])
        ids = np.full((len(texts), length), self.padding, np.int64)
        real, pooled = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
        for i, text in enumerate(texts):
            ids[i, : len(text.ids)] = text.ids
            real[i, : len(text.ids)] = True
            pooled[i, text.start : text.stop] = True
        return ids, real, pooled


def make_layout(
    *, echo: bool, plain: Sequence[int], framed: Sequence[int], prompt: Sequence[int], max_length: int
) -> Layout:
    """Find out how a tokenizer frames a text.

    Args:
        echo: Whether the text stands twice.
        plain: The tokens of some short text without special tokens.
        framed: The tokens of the same text with them.
        prompt: The tokens of the prompt, without special tokens.
        max_length: Tokens of a row.

    Raises:
        InputError: The tokenizer changes a text beyond setting tokens around it, or no token of a text is
            left beside the prompt.
    """
    for leading in range(len(framed) - len(plain) + 1):
        if list(framed[leading : leading + len(plain)]) == list(plain):
            trailing = len(framed) - len(plain) - leading
            break
    else:
        raise InputError("The tokenizer's special tokens do not stand around a text; it cannot be echoed.")
    if leading + trailing + len(prompt) >= max_length:
        raise InputError(
            f"The prompt has {len(prompt)} tokens and max_length is {max_length}: no text would be read; "
            "shorten the prompt or raise max_length."
        )
    return Layout(echo, leading, trailing, tuple(prompt))
