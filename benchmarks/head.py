"""The chunked SPLADE head beside the plain one: seconds and peak memory, forward and with gradients.

Each case runs in a process of its own: one warm-up, then `--repeats` timed runs, of which the fastest
counts. Peak memory is the process's largest resident set less what it held before the head ran (weights,
hidden states, the body's parameters). On a machine that does other work too, run it with `--threads 1` and
read the CPU seconds: the wall-clock of many short parallel products says more about the neighbours.
The weights are random: nearly every term is active, which is the dearest case of the sparse backward pass.
With `--bias -4` some hundred terms a document are active, as in a trained model. `step` adds a
transformer body of MiniLM-L6's size, so that it is a training step.

    python benchmarks/head.py                      # a table on stderr, JSON on stdout
    python benchmarks/head.py --width 384 --vocabulary 250000 --heads chunked
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

SHAPES = [(8, 128), (8, 256)]
BODY = {"num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def held_mb(field: str) -> float:
    """A line of this process's /proc/self/status in MB: `VmRSS` (now) or `VmHWM` (the largest so far)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise SystemExit("peak memory is read from /proc, so this benchmark needs Linux")


def forget_peak() -> None:
    """Set VmHWM back to what is held now (see proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(case: dict, repeats: int, threads: int) -> dict:
    """Run one case in this process."""
    import torch

    from lsr.encoders.head import plain_head, pool_head

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    head = {"plain": plain_head, "chunked": pool_head}[case["head"]]
    width, vocabulary = case["width"], case["vocabulary"]
    weight = (torch.randn(vocabulary, width) * width**-0.5).requires_grad_()
    bias = torch.full((vocabulary,), float(case["bias"])).requires_grad_()
    make_hidden = body(case) if case["pass"] == "step" else states(case)

    def run() -> float:
        for leaf in (weight, bias):
            leaf.grad = None
        pooled = head(make_hidden(), weight, bias, pool=case["pool"])
        if case["pass"] != "forward":
            pooled.sum().backward()
        return float((pooled > 0).sum()) / len(pooled)

    forget_peak()
    before, seconds, cpu = held_mb("VmRSS"), [], []
    with torch.set_grad_enabled(case["pass"] != "forward"):
        active = run()
        for _ in range(repeats):
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
    return {
        **case,
        "seconds": round(min(seconds), 4),
        "cpu_seconds": round(min(cpu), 4),
        "peak_mb": round(held_mb("VmHWM") - before, 1),
        "terms_active": round(active, 1),
    }


def states(case: dict):
    """Random hidden states, the same in every run."""
    import torch

    hidden = torch.randn(case["batch"], case["length"], case["width"]).requires_grad_()

    def give() -> torch.Tensor:
        hidden.grad = None
        return hidden

    return give


def body(case: dict):
    """Hidden states from a random transformer body in training mode."""
    import torch
    import transformers

    config = transformers.BertConfig(hidden_size=case["width"], vocab_size=1000, **BODY)
    model = transformers.BertModel(config, add_pooling_layer=False).train()
    ids = torch.randint(0, 1000, (case["batch"], case["length"]))

    def give() -> torch.Tensor:
        model.zero_grad()
        return model(ids).last_hidden_state

    return give


def cases(args: argparse.Namespace) -> list[dict]:
    """Every combination that was asked for."""
    return [
        {
            "pool": pool,
            "pass": part,
            "batch": batch,
            "length": length,
            "width": args.width,
            "vocabulary": args.vocabulary,
            "bias": args.bias,
            "head": head,
        }
        for pool in args.pools
        for part in args.passes
        for batch, length in SHAPES
        for head in args.heads
    ]


def table(results: list[dict]) -> str:
    """The results as text, the ratio to the plain head in brackets."""
    lines = ["pool pass     batch x length  head     seconds          CPU s            peak MB"]
    plain: dict[tuple, dict] = {}
    for r in results:
        key = (r["pool"], r["pass"], r["batch"], r["length"])
        if r["head"] == "plain":
            plain[key] = r
        faster = cheaper = less = ""
        if r["head"] != "plain" and key in plain:
            faster = f"({plain[key]['seconds'] / r['seconds']:.1f}x)"
            cheaper = f"({plain[key]['cpu_seconds'] / r['cpu_seconds']:.1f}x)"
            less = f"({plain[key]['peak_mb'] / max(r['peak_mb'], 0.1):.1f}x less)"
        lines.append(
            f"{r['pool']:4} {r['pass']:8} {r['batch']:5} x {r['length']:<6}  {r['head']:8} "
            f"{r['seconds']:7.3f} {faster:8} {r['cpu_seconds']:7.3f} {cheaper:8} {r['peak_mb']:8.0f} {less}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run every case in a process of its own, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--bias", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--heads", nargs="+", default=["plain", "chunked"], choices=["plain", "chunked"])
    parser.add_argument("--pools", nargs="+", default=["max", "sum"], choices=["max", "sum"])
    parser.add_argument("--passes", nargs="+", default=["forward", "backward", "step"])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(json.loads(args.case), args.repeats, args.threads)))
        return
    own = [sys.executable, __file__, "--repeats", str(args.repeats), "--threads", str(args.threads)]
    results = []
    for case in cases(args):
        done = subprocess.run(
            [*own, "--case", json.dumps(case)], stdout=subprocess.PIPE, check=True, encoding="utf-8"
        )
        results.append(json.loads(done.stdout))
    print(table(results), file=sys.stderr)
    print(json.dumps({"machine": platform.processor() or platform.machine(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
