"""Where tokens stand before a decoder, and which are pooled."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.encoders.decoder_layout import LaidOut, Layout, make_layout
from lsr.errors import InputError

BEGIN, END = 1, 2


def test_a_text_alone_pools_neither_special_tokens_nor_the_prompt():
    layout = Layout(False, leading=1, trailing=1, prompt=(7, 8))
    assert layout.lay_out([BEGIN, 7, 8, 20, 21, END]) == LaidOut((BEGIN, 7, 8, 20, 21, END), 3, 5)


def test_an_echo_repeats_the_text_alone_and_pools_the_second_copy():
    layout = Layout(True, leading=1, trailing=1, prompt=(7, 8))
    laid = layout.lay_out([BEGIN, 7, 8, 20, 21, END])
    assert laid.ids == (BEGIN, 7, 8, 20, 21, 20, 21, END)
    assert laid.ids[laid.start : laid.stop] == (20, 21) and laid.start == 5


def test_a_prompt_joined_with_the_text_counts_as_far_as_it_is_there():
    layout = Layout(True, leading=0, trailing=0, prompt=(7, 8))
    assert layout.lay_out([7, 30, 31]) == LaidOut((7, 30, 31, 30, 31), 3, 5)


@pytest.mark.parametrize("row", [[], [BEGIN], [BEGIN, END], [BEGIN, 7, END]])
def test_a_text_without_tokens_pools_nothing(row):
    for echo in (False, True):
        laid = Layout(echo, leading=1, trailing=1, prompt=(7,)).lay_out(row)
        assert laid.start == laid.stop and list(laid.ids) == row


def test_rows_are_padded_on_the_right():
    layout = Layout(True, leading=1, padding=9)
    ids, real, pooled = layout.collate([layout.lay_out([BEGIN, 4]), layout.lay_out([BEGIN, 5, 6])])
    assert ids.tolist() == [[1, 4, 4, 9, 9], [1, 5, 6, 5, 6]] and ids.dtype == np.int64
    assert real.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert pooled.tolist() == [[False, False, True, False, False], [False, False, False, True, True]]
    assert layout.collate([layout.lay_out([])])[0].shape == (1, 1)


def test_a_tokenizer_shows_how_it_frames_a_text():
    layout = make_layout(echo=True, plain=[5], framed=[1, 5, 2, 3], prompt=[7], max_length=8)
    assert layout == Layout(True, 1, 2, (7,))
    with pytest.raises(InputError, match="do not stand around"):
        make_layout(echo=True, plain=[5, 6], framed=[1, 5, 9, 6], prompt=[], max_length=8)
    with pytest.raises(InputError, match="no text would be read"):
        make_layout(echo=True, plain=[5], framed=[1, 5], prompt=[7, 8, 9], max_length=4)
