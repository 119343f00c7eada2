"""Penalties and masks against plain NumPy, their gradients, and the two readings of the idf-aware penalty."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.errors import InputError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.training.regularisers import (  # noqa: E402
    KINDS,
    Ramp,
    build_regulariser,
    df_flops,
    df_price,
    document_shares,
    document_slots,
    flops,
    idf_flops,
    keep_top,
    l0_flops,
    l1,
)


def sample(seed: int, rows: int = 6, columns: int = 9) -> np.ndarray:
    """Weights with many zeros, as an encoder gives them; one row is empty."""
    rng = np.random.default_rng(seed)
    weights = np.maximum(rng.normal(0, 2, (rows, columns)), 0)
    weights[0] = 0
    return weights


def plain_flops(weights: np.ndarray) -> float:
    total = 0.0
    for j in range(weights.shape[1]):
        total += (sum(abs(w) for w in weights[:, j]) / len(weights)) ** 2
    return total


def plain_df_flops(weights, shares, alpha, beta) -> float:
    total = 0.0
    for j, share in enumerate(shares):
        price = 0.0
        if share > 0:
            price = 1 / (1 + (share ** (np.log(2) / np.log(alpha)) - 1) ** beta)
        total += price * np.abs(weights[:, j]).mean() ** 2
    return total


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_plain_numpy(seed: int) -> None:
    weights = sample(seed)
    rng = np.random.default_rng(100 + seed)
    idf, shares = rng.uniform(0.01, 9, 9), rng.random(9)
    shares[:2] = 0, 1
    w = torch.from_numpy(weights)
    assert float(flops(w)) == pytest.approx(plain_flops(weights))
    assert float(l1(w)) == pytest.approx(np.abs(weights).sum(1).mean())
    assert float(idf_flops(w, torch.from_numpy(idf))) == pytest.approx(
        plain_flops(weights / np.maximum(idf, 0.1))
    )
    for threshold in (0, 3, 5, 9):
        masked = np.array([row if (row != 0).sum() > threshold else 0 * row for row in weights])
        assert float(l0_flops(w, threshold)) == pytest.approx(plain_flops(masked))
    for alpha, beta in ((0.1, 5.0), (0.5, 1.0)):
        found = float(df_flops(w, torch.from_numpy(shares), alpha, beta))
        assert found == pytest.approx(plain_df_flops(weights, shares, alpha, beta))


@pytest.mark.parametrize("seed", range(2))
def test_gradients_are_those_of_differences(seed: int) -> None:
    # Where a weight is 0, or equal to the last one kept, there is no derivative: here all differ.
    distinct = np.random.default_rng(seed).uniform(0.1, 0.5, (6, 9))
    w = torch.from_numpy(sample(seed) + distinct).requires_grad_()
    shares = torch.rand(9, dtype=torch.float64)
    assert torch.autograd.gradcheck(flops, (w,))
    assert torch.autograd.gradcheck(l1, (w,))
    assert torch.autograd.gradcheck(lambda x: idf_flops(x, 9 * shares), (w,))
    assert torch.autograd.gradcheck(lambda x: l0_flops(x, 3), (w,))
    assert torch.autograd.gradcheck(lambda x: df_flops(x, shares), (w,))
    assert torch.autograd.gradcheck(lambda x: keep_top(x, 4), (w,))


def test_the_two_readings_of_idf_are_one_in_other_coordinates() -> None:
    torch.manual_seed(0)
    documents, queries = torch.rand(5, 8).double(), torch.randint(0, 2, (3, 8)).double()
    idf = torch.rand(8).double() * 8 + 0.2
    scaled = documents * idf  # e = idf d
    assert torch.allclose((queries * idf) @ documents.T, queries @ scaled.T)
    assert float(flops(documents)) == pytest.approx(float(idf_flops(scaled, idf)))


def test_price_of_common_terms() -> None:
    price = df_price(torch.tensor([0.0, 1e-6, 0.1, 1.0], dtype=torch.float64), 0.1, 5.0)
    assert price.tolist() == pytest.approx([0.0, 1 / (1 + (1e-6 ** (-np.log10(2)) - 1) ** 5), 0.5, 1.0])
    assert torch.isfinite(df_price(torch.zeros(2), 0.1, 5.0)).all()
    for alpha, beta in ((0.0, 1.0), (1.0, 1.0), (0.5, 0.0)):
        with pytest.raises(InputError, match="DF-FLOPS"):
            df_price(torch.zeros(1), alpha, beta)


def test_keeping_the_top_keeps_values() -> None:
    weights = torch.tensor([[3.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 5.0]], requires_grad=True)
    kept = keep_top(weights, 2)
    assert kept.tolist() == [[3.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 5.0]]
    kept.sum().backward()
    assert weights.grad[0].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert keep_top(weights, 4) is weights
    with pytest.raises(InputError, match="at least 1"):
        keep_top(weights, 0)


def test_slots_are_averaged_apart() -> None:
    weights = torch.from_numpy(sample(5))
    slots = torch.tensor([0, 4, 4, 0, -1, 4])
    plain = (plain_flops(weights[[0, 3]].numpy()) + plain_flops(weights[[1, 2, 5]].numpy())) / 2
    assert float(document_slots(flops, weights, slots)) == pytest.approx(plain)
    assert float(document_slots(flops, weights, torch.full((6,), -1))) == 0.0


def test_shares_count_documents() -> None:
    weights = sample(1, rows=7)
    found = document_shares(torch.from_numpy(weights[i : i + 3]) for i in range(0, 7, 3))
    assert found.tolist() == pytest.approx((weights > 0).mean(0).tolist())
    with pytest.raises(InputError, match="at least one"):
        document_shares([])


def test_a_penalty_of_parts_is_not_that_of_the_whole() -> None:
    # The reason why the trainer gathers before it asks for a penalty.
    weights = torch.from_numpy(sample(2, rows=8))
    parts = (flops(weights[:4]) + flops(weights[4:])) / 2
    assert float(parts) > float(flops(weights))


def test_ramp_is_quadratic_in_steps() -> None:
    assert Ramp(2.0, 4).at(2) == 0.5 and Ramp(2.0, 4).at(0) == 0.0 and Ramp(2.0, 4).at(9) == 2.0
    assert Ramp(2.0).at(0) == 2.0


def test_recipes_become_regularisers() -> None:
    weights = torch.from_numpy(sample(3))
    idf, shares = torch.rand(9).double() + 1, torch.rand(9).double()
    expected = {
        "flops": flops(weights),
        "l1": l1(weights),
        "l0-flops": l0_flops(weights, 4),
        "idf-flops": idf_flops(weights, idf),
        "df-flops": df_flops(weights, shares, 0.2, 3.0),
    }
    assert set(expected) == set(KINDS)
    for kind, bare in expected.items():
        settings = {"kind": kind, "weight": 0.5, "steps": 10, "threshold": 4, "alpha": 0.2, "beta": 3.0}
        regulariser = build_regulariser(settings, idf=idf).with_shares(shares)
        term, logged = regulariser.weighted(weights, 5)
        assert logged == pytest.approx(float(bare)) and float(term) == pytest.approx(0.125 * float(bare))
    slots = torch.tensor([0, 1, 1, 1, 1, 1])
    apart = build_regulariser({"kind": "flops", "weight": 1, "apart": True, "keep": 3})
    assert float(apart.weighted(weights, 0, slots)[0]) == pytest.approx(
        float(document_slots(flops, weights, slots))
    )
    assert torch.equal(apart.cut(weights), keep_top(weights, 3))
    first = build_regulariser({"kind": "df-flops", "weight": 1})
    assert float(first.penalty(weights)) == pytest.approx(float(flops(weights)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "flop", "weight": 1}, "no regulariser 'flop'"),
        ({"kind": "flops"}, "weight from 0"),
        ({"kind": "flops", "weight": 1, "lambda": 2}, "has no 'lambda'"),
        ({"kind": "flops", "weight": 1, "keep": 0}, "keep=0"),
        ({"kind": "flops", "weight": 1, "steps": 1.5}, "steps=1.5"),
        ({"kind": "df-flops", "weight": 1, "alpha": 2}, "DF-FLOPS"),
        ({"kind": "idf-flops", "weight": 1}, "needs the idf"),
    ],
)
def test_wrong_recipes_are_refused(settings: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        build_regulariser(settings)
