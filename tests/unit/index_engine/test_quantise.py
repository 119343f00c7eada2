"""The meaning of a score: weights to steps, as design and docs promise it."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.errors import InputError, QueryError
from lsr.index.quantise import quantise, quantise_query, step_for, step_from_weights


def weights(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(("form", "largest"), [("u8", 255), ("u16", 65_535)])
def test_whole_numbers_keep_their_values(form, largest):
    scale = step_for(largest, form)
    assert scale == 1.0
    impacts, clipped = quantise(weights(1, 2, largest), form, scale)
    assert impacts.tolist() == [1, 2, largest]
    assert clipped == 0
    assert impacts.dtype.itemsize == (1 if form == "u8" else 2)


def test_a_weight_above_half_a_step_over_the_largest_is_clipped_and_counted():
    impacts, clipped = quantise(weights(255.4, 255.6, 1e30), "u8", 1.0)
    assert impacts.tolist() == [255, 255, 255]
    assert clipped == 2


def test_the_largest_weight_itself_is_not_clipped():
    for largest in np.float32([0.1, 3.3, 7.77, 1e-30, 3e38]):
        for form, top in (("u8", 255), ("u16", 65_535)):
            impacts, clipped = quantise(np.array([largest]), form, step_for(float(largest), form))
            assert (impacts.tolist(), clipped) == ([top], 0)


def test_a_tiny_weight_never_becomes_zero():
    assert quantise(weights(1e-40), "u8", 1.0)[0].tolist() == [1]
    assert quantise_query([1, 2], [1e-300, 1e300], "u16").weights.tolist() == [1, 65_535]
    assert quantise_query([1], [5e-324], "u8").weights.tolist() == [1]
    assert quantise_query([1], [1e-300], "f32").weights[0] > 0


def test_f32_passes_through():
    impacts, clipped = quantise(weights(0.1, 7e30), "f32", None)
    assert impacts.dtype == np.float32
    assert impacts.tolist() == weights(0.1, 7e30).tolist()
    assert clipped == 0


def test_nothing_is_quantised_to_nothing():
    for form in ("u8", "u16", "f32"):
        assert quantise(weights(), form, 1.0)[0].size == 0
        assert len(quantise_query([], [], form)) == 0
        assert len(quantise_query([3], [0.0], form)) == 0


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
def test_document_weights_that_cannot_be_used(bad, form):
    with pytest.raises(InputError):
        quantise(weights(1.0, bad, 2.0), form, 1.0)


@pytest.mark.parametrize("scale", [None, 0.0, -1.0, np.nan, np.inf])
def test_scales_that_cannot_be_used(scale):
    with pytest.raises(InputError, match="scale"):
        quantise(weights(1.0), "u8", scale)


@pytest.mark.parametrize("largest", [0.0, -2.0, np.nan, np.inf])
def test_largest_weights_that_cannot_be_used(largest):
    with pytest.raises(InputError, match="max_document_weight"):
        step_for(largest, "u8")


def test_an_unknown_form_names_the_known_ones():
    with pytest.raises(InputError, match="u16"):
        quantise(weights(1.0), "u4", 1.0)


def test_the_step_of_unknown_data():
    assert step_from_weights([weights(1, 3), weights(255)], "u8") == 1.0
    assert step_from_weights([weights(1, 3, 256)], "u8") == 256 / 255
    assert step_from_weights([weights(1, 3, 256)], "u16") == 1.0
    assert step_from_weights([weights(0.5), weights(1)], "u8") == 1 / 255
    assert step_from_weights([weights(0.5, 255)], "u8") == 1.0
    assert step_from_weights([weights()], "u8") == step_from_weights([], "u8") == 1.0
    assert step_from_weights([weights(0.5)], "f32") is None


def test_a_query_has_steps_of_its_own():
    query = quantise_query([4, 2], [0.5, 2.0], "u8")
    assert query.columns.tolist() == [2, 4]
    assert query.weights.tolist() == [255, 64]
    assert query.step == 2.0 / 255


def test_a_query_of_whole_numbers_is_kept():
    query = quantise_query([4, 2], [255, 1], "u8")
    assert (query.weights.tolist(), query.step) == ([1, 255], 1.0)
    assert quantise_query([4, 2], [256, 1], "u8").step == 256 / 255
    assert quantise_query([4, 2], [256, 1], "u16").step == 1.0


def test_a_repeated_column_is_added_and_zeros_are_dropped():
    query = quantise_query([9, 4, 9, 1], [1, 2, 3, 0], "u8")
    assert query.columns.tolist() == [4, 9]
    assert query.weights.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ([1], [-1.0]),
        ([1, 1], [-1.0, 2.0]),
        ([1], [np.nan]),
        ([1], [np.inf]),
        ([-1], [1.0]),
        ([2**31], [1.0]),
        ([1, 2], [1.0]),
        ([1.5], [1.0]),
        ([[1]], [[1.0]]),
        ([1], ["a"]),
        ([1, 1], [1.7e308, 1.7e308]),
    ],
)
@pytest.mark.parametrize("form", ["u8", "u16", "f32"])
def test_queries_that_cannot_be_used(columns, values, form):
    with pytest.raises(QueryError):
        quantise_query(columns, values, form)


def test_a_query_weight_that_float32_cannot_hold():
    with pytest.raises(QueryError, match="f32"):
        quantise_query([1], [1e39], "f32")


def test_as_many_terms_as_a_sum_can_take():
    columns = np.arange(66_052)
    assert 66_051 * 255 * 255 < 2**32 <= 66_052 * 255 * 255
    assert len(quantise_query(columns[:-1], np.ones(66_051), "u8")) == 66_051
    with pytest.raises(QueryError, match="66,051"):
        quantise_query(columns, np.ones(66_052), "u8")
