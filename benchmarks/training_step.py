"""One training step of a student beside the plain implementation: seconds, peak memory, equal gradients.

The student is `lsr.training.student_masked` with a random transformer body of MiniLM-L6's size; a step is
forward, KL to random teacher scores plus FLOPS, and backward. `plain` differs in the head alone: whole
[batch, length, vocabulary] logits, as sentence-transformers has them. Each runs in a process of its own: one
warm-up, then `--repeats` steps, of which the fastest counts. Peak memory is the process's largest resident
set less what it held after a step of one text (weights, the program itself); gradients are in it.

`--bias` is added to every logit: 0 leaves nearly every term of these random weights active, the dearest
case of the sparse backward pass; with -1.5 some hundreds a document are, as in a trained model.
`--recompute N` adds a third row: N layers of the body run again in the backward pass instead of keeping their
states, as `lsr.training.student_init.recompute_layers` makes them.

    python benchmarks/training_step.py                  # a table on stderr, JSON on stdout
    python benchmarks/training_step.py --bias 0 --recompute 3
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30522,
}
QUERIES = ("how do vaccines work", "heart attack risk", "capital of france", "stock market crash")


def held_mb(field: str) -> float:
    """A line of this process's /proc/self/status in MB: `VmRSS` (now) or `VmHWM` (the largest so far)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise SystemExit("peak memory is read from /proc, so this benchmark needs Linux")


def make_student(head: str, bias: float, recompute: int = 0):
    """A SPLADE-doc student with random weights, its head replaced where the plain one is asked for."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from lsr.encoders.head import plain_head
    from lsr.encoders.loading import bundled_models
    from lsr.encoders.tokens import Tokeniser
    from lsr.training.student_init import recompute_layers
    from lsr.training.student_masked import MaskedStudent
    from lsr.training.student_tables import make_table

    class Plain(MaskedStudent):
        def documents(self, tokens):
            return plain_head(self.states(tokens), self.head.weight, self.head.bias, tokens.attention_mask)

    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ).eval()
    model.get_output_embeddings().bias.data.fill_(bias)
    tokeniser = Tokeniser(bundled_models()["lsr-en-1"], 256)
    table = make_table(np.ones(SIZES["vocab_size"], np.float32), tokeniser.special_ids)
    kind = Plain if head == "plain" else MaskedStudent
    student = kind(model, None, tokeniser, kind="splade-doc", table=table).train()
    if head == "recompute":
        recompute_layers(model, recompute)
    return student


def measure(args: argparse.Namespace) -> dict:
    """Run one head in this process; the gradients go to a file."""
    import torch

    from lsr.training.losses import kl_distillation
    from lsr.training.regularisers import flops
    from lsr.training.student_base import Tokens

    torch.set_num_threads(args.threads)
    student = make_student(args.case, args.bias, args.recompute)
    queries = student.tokenise(QUERIES, "query")
    ids = torch.randint(1000, SIZES["vocab_size"], (args.batch, args.length))
    documents = Tokens(ids, torch.ones_like(ids))
    teacher = 3 * torch.randn(len(QUERIES), args.batch)
    mask = torch.ones_like(teacher, dtype=torch.bool)

    def step(batch: Tokens) -> float:
        student.zero_grad()
        weights = student.documents(batch)
        of_batch = slice(0, len(batch))
        scores = student.scores(queries, weights)
        loss = kl_distillation(scores, teacher[:, of_batch], mask[:, of_batch]) + 0.01 * flops(weights)
        loss.backward()
        return float((weights > 0).sum()) / len(batch)

    step(documents[:1])  # pages of the libraries count for neither
    student.zero_grad()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # set VmHWM back to what is held now
    before, seconds, cpu = held_mb("VmRSS"), [], []
    active = step(documents)
    for _ in range(args.repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        step(documents)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = held_mb("VmHWM") - before
    torch.save({name: p.grad for name, p in student.named_parameters()}, args.gradients)
    return {
        "head": args.case,
        "batch": args.batch,
        "length": args.length,
        "bias": args.bias,
        "threads": args.threads,
        "seconds": round(min(seconds), 3),
        "cpu_seconds": round(min(cpu), 3),
        "peak_mb": round(peak, 1),
        "terms_active": round(active, 1),
    }


def largest_difference(*files: Path) -> float:
    """The largest difference of two files' gradients, as a share of the largest gradient of its parameter."""
    import torch

    first, second = (torch.load(file, weights_only=True) for file in files)
    worst = 0.0
    for name, gradient in first.items():
        other = second[name]
        if gradient is None or other is None:
            if gradient is not other:
                raise SystemExit(f"only one of the two has a gradient of {name}")
            continue
        scale = max(float(gradient.abs().max()), 1e-6)  # a gradient that is 0 but for rounding has none
        worst = max(worst, float((gradient - other).abs().max()) / scale)
    return worst


def table(results: list[dict], differences: list[float]) -> str:
    """The results as text."""
    lines = ["head   seconds  CPU s  peak MB  terms"]
    for r in results:
        numbers = f"{r['seconds']:7.2f} {r['cpu_seconds']:6.2f} {r['peak_mb']:8.0f} {r['terms_active']:6.0f}"
        lines.append(f"{r['head']:6} {numbers}")
    plain = results[0]
    for r, difference in zip(results[1:], differences, strict=True):
        lines.append(
            f"{r['head']}: {plain['seconds'] / r['seconds']:.2f}x faster, "
            f"{plain['cpu_seconds'] / r['cpu_seconds']:.2f}x less processor time, "
            f"{plain['peak_mb'] / r['peak_mb']:.2f}x less memory; gradients differ by {difference:.1e}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run each head in a process of its own, compare their gradients, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--bias", type=float, default=-1.5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recompute", type=int, default=0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--gradients", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args)))
        return
    options = ["batch", "length", "bias", "repeats", "threads", "recompute"]
    own = [f"--{name}={getattr(args, name)}" for name in options]
    results, files = [], []
    with tempfile.TemporaryDirectory() as folder:
        for head in ["plain", "fused", *(["recompute"] if args.recompute else [])]:
            files.append(Path(folder) / f"{head}.pt")
            done = subprocess.run(
                [sys.executable, __file__, *own, "--case", head, "--gradients", str(files[-1])],
                stdout=subprocess.PIPE,
                check=True,
                encoding="utf-8",
            )
            results.append(json.loads(done.stdout))
        differences = [largest_difference(files[0], file) for file in files[1:]]
    print(table(results, differences), file=sys.stderr)
    machine = platform.processor() or platform.machine()
    print(json.dumps({"machine": machine, "gradients_differ_by": differences, "results": results}, indent=1))


if __name__ == "__main__":
    main()
