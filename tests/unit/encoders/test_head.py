"""The chunked head against the plain one: values, gradients, masks, chosen columns, types."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lsr.encoders.head import plain_head, pool_head  # noqa: E402
from lsr.encoders.head_chunked import _MaxHead, gathered_sum  # noqa: E402
from lsr.encoders.head_plan import _alike  # noqa: E402
from lsr.errors import InputError  # noqa: E402

pytestmark = pytest.mark.torch

KINDS = [(pool, activation) for pool in ("max", "sum") for activation in ("relu", "log1p_relu")]


def sample(batch=5, length=13, width=16, vocabulary=97, dtype=torch.float32, seed=0):
    make = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, length, width, generator=make, dtype=torch.float64)
    weight = torch.randn(vocabulary, width, generator=make, dtype=torch.float64) * 0.3
    bias = torch.randn(vocabulary, generator=make, dtype=torch.float64) - 1.5
    tensors = [t.to(dtype).requires_grad_() for t in (hidden, weight, bias)]
    lengths = torch.tensor([length, 1, length // 2, 7, 3])[:batch]
    return *tensors, (torch.arange(length) < lengths[:, None])


def values_and_gradients(head, hidden, weight, bias, mask, **options):
    leaves = [t for t in (hidden, weight, bias) if t is not None]
    result = head(hidden, weight, bias, mask, **options)
    toward = torch.randn(result.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return [result, *torch.autograd.grad((result * toward.to(result.dtype)).sum(), leaves)]


def assert_same(first, second, tolerance=1e-5):
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("pool", "activation"), KINDS)
@pytest.mark.parametrize("chunk", [None, 1, 10, 97])
def test_equal_to_the_plain_head_gradients_too(pool, activation, chunk):
    hidden, weight, bias, mask = sample()
    options = {"pool": pool, "activation": activation}
    plain = values_and_gradients(plain_head, hidden, weight, bias, mask, **options)
    assert (plain[0] > 0).any() and (plain[0] == 0).any()  # both sides of relu are met
    assert_same(values_and_gradients(pool_head, hidden, weight, bias, mask, chunk=chunk, **options), plain)


@pytest.mark.parametrize(("pool", "activation"), KINDS)
def test_without_bias_and_mask(pool, activation):
    hidden, weight, _, _ = sample()
    options = {"pool": pool, "activation": activation}
    assert_same(
        values_and_gradients(pool_head, hidden, weight, None, None, **options),
        values_and_gradients(plain_head, hidden, weight, None, None, **options),
    )


@pytest.mark.parametrize(("pool", "activation"), KINDS)
def test_gradients_against_finite_differences(pool, activation):
    hidden, weight, bias, mask = sample(3, 5, 4, 7, torch.float64)

    def head(hidden, weight, bias):
        return pool_head(hidden, weight, bias, mask, pool=pool, activation=activation, chunk=3)

    assert torch.autograd.gradcheck(head, (hidden, weight, bias))


@pytest.mark.parametrize("pool", ["max", "sum"])
def test_masks_with_holes_and_on_the_left(pool):
    hidden, weight, bias, _ = sample()
    mask = torch.rand(5, 13, generator=torch.Generator().manual_seed(3)) < 0.4
    mask[0], mask[1], mask[2] = False, False, True
    mask[1, -1] = True  # one real token, at the end
    for kind in (torch.bool, torch.int64):
        assert_same(
            values_and_gradients(pool_head, hidden, weight, bias, mask.to(kind), pool=pool),
            values_and_gradients(plain_head, hidden, weight, bias, mask.to(kind), pool=pool),
        )
    assert not pool_head(hidden, weight, bias, mask, pool=pool)[0].any()  # no real token: zeros


def test_what_is_masked_cannot_be_seen():
    hidden, weight, bias, mask = sample()
    spoilt = torch.where(mask.unsqueeze(-1), hidden, torch.full_like(hidden, 1e6)).detach()
    for pool in ("max", "sum"):
        assert torch.equal(
            pool_head(spoilt, weight, bias, mask, pool=pool), pool_head(hidden, weight, bias, mask, pool=pool)
        )


@pytest.mark.parametrize("pool", ["max", "sum"])
def test_only_some_columns(pool):
    hidden, weight, bias, mask = sample()
    columns = torch.tensor([4, 90, 17, 55, 0])
    options = {"pool": pool, "columns": columns}
    chunked = values_and_gradients(pool_head, hidden, weight, bias, mask, chunk=2, **options)
    assert_same(chunked, values_and_gradients(plain_head, hidden, weight, bias, mask, **options))
    others = torch.ones(97, dtype=torch.bool)
    others[columns] = False
    assert chunked[0].shape == (5, 97) and not chunked[0][:, others].any() and chunked[0].any()
    with torch.no_grad():
        assert torch.equal(pool_head(hidden, weight, bias, mask, chunk=2, **options), chunked[0])


def test_of_equal_maxima_the_first_takes_the_gradient():
    hidden = torch.tensor([[[0.5], [2.0], [2.0], [1.0], [2.0]]], requires_grad=True)
    weight = torch.tensor([[1.0], [3.0]])
    assert_same(
        values_and_gradients(pool_head, hidden, weight.requires_grad_(), None, None),
        values_and_gradients(plain_head, hidden, weight, None, None),
    )
    pool_head(hidden, weight).sum().backward()
    assert hidden.grad.flatten().nonzero().flatten().tolist() == [1]


def test_many_documents_make_several_groups_and_blocks(monkeypatch):
    monkeypatch.setattr("lsr.encoders.head_chunked._ENTRIES", 200)
    monkeypatch.setattr("lsr.encoders.head.tiles", lambda hidden, pool, chunk: (20, chunk or 8))
    hidden, weight, bias, mask = sample()
    assert_same(
        values_and_gradients(pool_head, hidden, weight, bias, mask),
        values_and_gradients(plain_head, hidden, weight, bias, mask),
    )
    assert_same(
        values_and_gradients(pool_head, hidden, weight, bias, mask, columns=torch.arange(3, 80, 2)),
        values_and_gradients(plain_head, hidden, weight, bias, mask, columns=torch.arange(3, 80, 2)),
    )


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_a_frozen_part_gets_no_gradient(frozen):
    hidden, weight, bias, mask = sample()
    parts = {"hidden": hidden, "weight": weight, "bias": bias}
    parts[frozen].requires_grad_(False)
    pool_head(*parts.values(), mask).sum().backward()
    assert parts[frozen].grad is None
    assert all(part.grad is not None for name, part in parts.items() if name != frozen)


@pytest.mark.parametrize("pool", ["max", "sum"])
def test_bfloat16_within_its_own_precision(pool):
    hidden, weight, bias, mask = sample()
    exact = values_and_gradients(plain_head, hidden, weight, bias, mask, pool=pool)
    half = [t.detach().bfloat16().requires_grad_() for t in (hidden, weight, bias)]
    result = pool_head(*half, mask, pool=pool)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), exact[0], atol=0.05, rtol=0.05)
    result.sum().backward()
    assert [t.grad.dtype for t in half] == [torch.bfloat16] * 3


@pytest.mark.parametrize("pool", ["max", "sum"])
def test_autocast_multiplies_in_its_type_and_keeps_that_of_the_states(pool):
    hidden, weight, bias, mask = sample()
    exact = pool_head(hidden, weight, bias, mask, pool=pool)
    with torch.autocast("cpu", torch.bfloat16):
        cast = pool_head(hidden, weight, bias, mask, pool=pool)
        cast.sum().backward()
    assert cast.dtype == torch.float32 and hidden.grad.dtype == torch.float32
    assert not torch.equal(cast, exact)
    torch.testing.assert_close(cast, exact, atol=0.05, rtol=0.05)


def test_nothing_of_batch_by_length_by_vocabulary_is_kept_or_made(monkeypatch):
    hidden, weight, bias, _ = sample(5, 13, 16, 600)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor):
                    sizes.append(tensor.numel())
            return result

    for pool in ("max", "sum"):
        with Watch():
            pool_head(hidden, weight, bias, pool=pool, chunk=50).sum().backward()
        assert max(sizes) <= max(weight.numel(), 5 * 13 * 50)  # the plain head holds 5 x 13 x 600
        sizes.clear()


def test_no_tokens_at_all():
    hidden, weight, bias, _ = sample()
    for pool in ("max", "sum"):
        assert pool_head(hidden[:0], weight, bias, pool=pool).shape == (0, 97)
        none = pool_head(hidden[:, :0], weight, bias, pool=pool)
        assert none.shape == (5, 97) and not none.any()


def test_documents_of_like_length_are_multiplied_together():
    lengths = [10, 0, 256, 250, 90, 200, 100, 9, 60]
    groups = _alike(lengths, 1024)
    assert groups == [[2, 3, 5], [6, 4, 8], [0, 7]]
    assert _alike(lengths, 300) == [[2], [3], [5], [6, 4, 8], [0, 7]]
    assert _alike([3, 2], 1) == [[0], [1]] and _alike([0], 8) == []


def test_positions_are_kept_small():
    hidden, weight, bias, mask = sample()
    context = pool_head(hidden, weight, bias, mask).grad_fn
    assert isinstance(context, _MaxHead._backward_cls)
    assert context.saved_tensors[-1].dtype == torch.int16


def test_gathered_sum_with_empty_runs():
    table = torch.tensor([[1.0, 2.0], [10.0, 20.0]])
    counts = torch.tensor([0, 2, 0, 1])
    result = gathered_sum(table, torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.5, 2.0]), counts)
    assert result.tolist() == [[0, 0], [6, 12], [0, 0], [20, 40]]
    empty = torch.empty(0, dtype=torch.int64)
    assert gathered_sum(table, empty, empty.float(), torch.tensor([0, 0])).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight": torch.zeros(97, 5)}, r"hidden states \[batch, length, width\]"),
        ({"bias": torch.zeros(3)}, r"bias of \[3\]"),
        ({"mask": torch.ones(5, 2)}, r"mask of \[5, 2\]"),
        ({"pool": "mean"}, "pool='mean' is not one of max, sum"),
        ({"activation": "gelu"}, "activation='gelu' is not one of"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    hidden, weight, bias, mask = sample()
    call = {"hidden": hidden, "weight": weight, "bias": bias, "mask": mask, **change}
    with pytest.raises(InputError, match=words):
        pool_head(**call)
