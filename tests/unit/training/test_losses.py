"""Ranking losses against plain NumPy, their gradients, and what padding must not change."""

from __future__ import annotations

import numpy as np
import pytest

from lsr.errors import InputError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.training.losses import (  # noqa: E402
    RankingLoss,
    info_nce,
    kl_distillation,
    margin_mse,
    pool_distillation,
)


def sample(seed: int, rows: int = 5, columns: int = 7) -> tuple[np.ndarray, ...]:
    """Scores of both, positives, and a mask with a row of nothing, of one, and of no positive."""
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(0, 3, (2, rows, columns))
    mask = rng.random((rows, columns)) < 0.7
    mask[0], mask[1] = False, np.arange(columns) == 2
    positive = rng.random((rows, columns)) < 0.4
    positive[2] = False
    positive[1, 2] = True
    return student, teacher, positive, mask


def tensors(*arrays: np.ndarray) -> list:
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def plain_kl(student, teacher, mask) -> float:
    values = []
    for s, t, m in zip(student, teacher, mask, strict=True):
        m = m & ~np.isnan(t)
        if m.any():
            p, q = softmax(t[m]), softmax(s[m])
            values.append(float((p * np.log(p / q)).sum()))
    return float(np.mean(values)) if values else 0.0


def plain_margins(student, teacher, positive, mask) -> float:
    values = []
    for s, t, good, m in zip(student, teacher, positive, mask, strict=True):
        for p in np.flatnonzero(good & m & ~np.isnan(t)):
            for n in np.flatnonzero(~good & m & ~np.isnan(t)):
                values.append(((s[p] - s[n]) - (t[p] - t[n])) ** 2)
    return float(np.mean(values)) if values else 0.0


def plain_info_nce(student, positive, mask, temperature) -> float:
    values = []
    for s, good, m in zip(np.exp(student / temperature), positive, mask, strict=True):
        others = s[m & ~good].sum()
        values += [-np.log(s[p] / (s[p] + others)) for p in np.flatnonzero(good & m)]
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_plain_numpy(seed: int) -> None:
    student, teacher, positive, mask = sample(seed)
    teacher[3, 1] = np.nan
    s, t, p, m = tensors(student, teacher, positive, mask)
    assert float(kl_distillation(s, t, m)) == pytest.approx(plain_kl(student, teacher, mask), abs=1e-12)
    assert float(margin_mse(s, t, p, m)) == pytest.approx(plain_margins(student, teacher, positive, mask))
    for temperature in (1.0, 0.2):
        plain = plain_info_nce(student, positive, mask, temperature)
        assert float(info_nce(s, p, m, temperature)) == pytest.approx(plain, rel=1e-7)
    for over, turned in (("queries", lambda a: a), ("documents", np.transpose)):
        plain = plain_kl(turned(student), turned(teacher), turned(mask))
        assert float(pool_distillation(s, t, m, over)) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_differences(seed: int) -> None:
    student, teacher, positive, mask = sample(seed)
    teacher[4, 0] = np.nan
    s, t, p, m = tensors(student, teacher, positive, mask)
    s.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kl_distillation(x, t, m), (s,))
    assert torch.autograd.gradcheck(lambda x: margin_mse(x, t, p, m), (s,))
    assert torch.autograd.gradcheck(lambda x: info_nce(x, p, m, 0.5), (s,))
    assert torch.autograd.gradcheck(lambda x: pool_distillation(x, t, m, "documents"), (s,))
    assert torch.autograd.gradcheck(lambda x: pool_distillation(x, t, m, "queries"), (s,))


def test_nothing_present_is_zero_with_zero_gradients() -> None:
    scores = torch.full((2, 3), 5.0, requires_grad=True)
    none, nan = torch.zeros(2, 3, dtype=torch.bool), torch.full((2, 3), torch.nan)
    everything = ~none
    losses = [
        kl_distillation(scores, nan, everything),
        margin_mse(scores, nan, everything, everything),
        info_nce(scores, none, everything),
        info_nce(scores, everything, everything),
        pool_distillation(scores, nan, none),
    ]
    total = sum(losses)
    total.backward()
    assert float(total.detach()) == 0.0 and float(scores.grad.abs().sum()) == 0.0


def test_padding_columns_change_neither_value_nor_gradient() -> None:
    student, teacher, positive, mask = sample(11)
    wide = [np.pad(a, ((0, 2), (0, 3))) for a in (student, teacher, positive, mask)]
    wide[1][-1] = np.nan
    for loss in (
        lambda s, t, p, m: kl_distillation(s, t, m),
        margin_mse,
        lambda s, t, p, m: info_nce(s, p, m),
    ):
        narrow_tensors, wide_tensors = tensors(student, teacher, positive, mask), tensors(*wide)
        results = []
        for arguments in (narrow_tensors, wide_tensors):
            arguments[0].requires_grad_()
            value = loss(*arguments)
            (gradient,) = torch.autograd.grad(value, arguments[0])
            results.append((float(value), gradient[:5, :7]))
        assert results[0][0] == pytest.approx(results[1][0])
        assert torch.allclose(results[0][1], results[1][1])


def test_margins_survive_float32_with_a_large_common_score() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 0.1, (2, 4, 32)) + np.array([[[5000.0]], [[0.0]]])
    positive, mask = rng.random((4, 32)) < 0.2, np.ones((4, 32), bool)
    exact = plain_margins(student.astype(np.float32).astype(float), teacher, positive, mask)
    s, t, p, m = tensors(student.astype(np.float32), teacher, positive, mask)
    assert float(margin_mse(s, t, p, m)) == pytest.approx(exact, rel=1e-3)


def test_losses_of_a_recipe_are_summed_by_weight() -> None:
    student, teacher, positive, mask = sample(3)
    s, t, p, m = tensors(student, teacher, positive, mask)
    loss = RankingLoss({"kl": 1, "margin-mse": 0.05, "info-nce": 2.0, "pool-queries": 0}, temperature=0.5)
    assert loss.wants_lists and loss.wants_positives and loss.wants_teacher and not loss.wants_pool
    found = loss.lists(s, t, m, p)
    parts = {"kl": kl_distillation(s, t, m), "margin-mse": margin_mse(s, t, p, m)}
    parts["info-nce"] = info_nce(s, p, m, 0.5)
    assert found.parts == {name: pytest.approx(float(value)) for name, value in parts.items()}
    plain = float(parts["kl"] + 0.05 * parts["margin-mse"] + 2 * parts["info-nce"])
    assert float(found.total) == pytest.approx(plain)
    pool = RankingLoss({"pool-documents": 1, "pool-queries": 0.5})
    both = pool_distillation(s, t, m) + 0.5 * pool_distillation(s, t, m, "queries")
    assert float(pool.pool(s, t, m).total) == pytest.approx(float(both))
    assert pool.wants_pool and not pool.wants_lists and not pool.wants_positives


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"kll": 1}, "no loss 'kll'"),
        ({"kl": -1}, "weight of the loss"),
        ({"kl": 0}, "needs a loss"),
        ({}, "needs"),
    ],
)
def test_wrong_recipes_are_refused(weights: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        RankingLoss(weights)


def test_what_a_loss_needs_is_asked_for() -> None:
    scores, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(InputError, match="positives or teacher"):
        RankingLoss({"margin-mse": 1}).lists(scores, scores, mask)
    with pytest.raises(InputError, match="positives or teacher"):
        RankingLoss({"kl": 1}).lists(scores, None, mask)
    with pytest.raises(InputError, match="temperature"):
        RankingLoss({"info-nce": 1}, temperature=0)
    assert not RankingLoss({"info-nce": 1}).wants_teacher
    with pytest.raises(InputError, match="over"):
        pool_distillation(scores, scores, mask, "both")
