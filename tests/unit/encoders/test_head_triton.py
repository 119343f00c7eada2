"""The Triton head against the chunked one: compiled where there is a CUDA device, else interpreted.

The interpreter has to be chosen before Triton is first imported, so the kernels run in a process of their
own (this file as a script), which prints the largest differences of each case as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

CASES = {
    "plain": {},
    "twice": {"activation": "log1p_relu"},
    "no_bias": {"bias": False},
    "no_mask": {"mask": None},
    "holes": {"mask": "holes"},
    "columns": {"columns": [250, 3, 129, 77]},
    "several_tiles": {"length": 150, "width": 100, "vocabulary": 300},
    "one_token": {"length": 1, "mask": None},
    "short": {"dtype": "short", "weight": "short"},
    "weight_float32_states_short": {"dtype": "short"},
}


def run_case(case: dict) -> dict:
    """Differences between both heads in values, in gradients, and of a call without gradients."""
    import torch

    from lsr.encoders.head_chunked import chunked_head
    from lsr.encoders.head_plan import Plan
    from lsr.encoders.head_triton import pool_max

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Triton 3.9's interpreter multiplies the bit patterns of bfloat16 as integers.
    types = {"float32": torch.float32, "short": torch.bfloat16 if device == "cuda" else torch.float16}
    batch, length = 4, case.get("length", 70)
    width, vocabulary = case.get("width", 24), case.get("vocabulary", 260)
    kind = types[case.get("dtype", "float32")]
    hidden = torch.randn(batch, length, width).to(device, kind).requires_grad_()
    # Values that the shorter type holds too: the oracle's maxima stand where the kernel's do.
    weight = (torch.randn(vocabulary, width) * 0.3).to(kind).to(device, types[case.get("weight", "float32")])
    bias = (torch.randn(vocabulary) - 2).to(device) if case.get("bias", True) else None
    leaves = [hidden, weight.requires_grad_(), *([] if bias is None else [bias.requires_grad_()])]
    mask = torch.arange(length) < torch.tensor([length, 66, 3, 0])[:, None]
    if case.get("mask", True) == "holes":
        mask = torch.rand(batch, length) < 0.3
        mask[1, :64] = False  # a whole tile of tokens is masked
    mask = None if case.get("mask", True) is None else mask.to(device)
    columns = torch.tensor(case["columns"], device=device) if "columns" in case else None
    activation = case.get("activation", "relu")
    # The oracle multiplies in float32: the kernel does not round logits to a shorter type.
    wide = Plan("max", activation, columns, torch.float32, 1024, 64)
    plan = Plan("max", activation, columns, kind, 1024, 64)
    results = []
    for head, how in ((chunked_head, wide), (pool_max, plan)):
        scores = head(hidden, weight, bias, mask, how)
        toward = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1)).to(scores)
        results.append([scores, *torch.autograd.grad((scores * toward).sum(), leaves)])
    with torch.no_grad():
        results[0].append(results[0][0])
        results[1].append(pool_max(hidden, weight, bias, mask, plan))
    return {
        "differences": [float((a - b).abs().max()) for a, b in zip(*results, strict=True)],
        "types": [str(t.dtype) for t in results[1]] == [str(t.dtype) for t in results[0]],
        "active": float((results[0][0] > 0).float().mean()),
    }


def first_of_equals() -> list[int]:
    """Tokens that get a gradient where several have the largest logit, in one tile and in two."""
    import torch

    from lsr.encoders.head_plan import Plan
    from lsr.encoders.head_triton import pool_max

    device = "cuda" if torch.cuda.is_available() else "cpu"
    hidden = torch.ones(1, 100, 16, device=device)
    hidden[0, [5, 9, 70]] = 2.0
    hidden.requires_grad_()
    weight = torch.ones(20, 16, device=device)
    pool_max(hidden, weight, None, None, Plan("max", "relu", None, torch.float32, 1, 1)).sum().backward()
    return hidden.grad.sum(2).flatten().nonzero().flatten().tolist()


if __name__ == "__main__":
    answers = {name: run_case(case) for name, case in CASES.items()}
    print(json.dumps({**answers, "first": first_of_equals()}))
    sys.exit(0)

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


@pytest.fixture(scope="module")
def answers():
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, encoding="utf-8", env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(CASES))
def test_equal_to_the_chunked_head_gradients_too(answers, name):
    answer = answers[name]
    # Results in a short type differ by its rounding: of bfloat16, 1/256 of their size.
    tolerance = 0.05 if "short" in name else 1e-5
    assert max(answer["differences"]) < tolerance, answer
    assert answer["types"]
    assert 0.0 < answer["active"] < 1.0


def test_of_equal_maxima_the_first_takes_the_gradient(answers):
    assert answers["first"] == [5]
