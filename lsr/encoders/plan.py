"""What an encoder would need before any of its weights is read: memory, multiplications, time.

Counts come from the configuration (`lsr.encoders.plan_architecture`), so a model need not be there. They feed
`lsr models --plan NAME` and the check that refuses a model too large for its device before loading it.
Parameters and weights are exact; activations and times are estimates, and say what they assume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lsr.encoders.decoder_folder import ADAPTER, ADAPTER_CONFIG, is_decoder_folder, read_settings
from lsr.encoders.model_files import read_object
from lsr.encoders.plan_architecture import KNOWN, Architecture, adapter_parameters, read_architecture
from lsr.encoders.plan_devices import available_memory, gigabytes, measure_cpu
from lsr.errors import InputError, UnknownEncoderError

Attention = Literal["echo", "bidirectional", "causal"]

PRECISIONS: Mapping[str, float] = {
    "float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0, "int4": 0.5 + 4 / 64,
}  # fmt: skip
"""Bytes of a weight of a layer; int4 has a float32 scale for each 64 (NF4). Other tensors then take 2."""

_HEAD_BYTES = {"cpu": 1024 * 512 * 4, "cuda": 16384 * 2048 * 4}
"""Logits that the fused head holds at one time."""

_UTILISATION = 0.4
_ACCELERATORS = (("H100", 989e12, 80e9), ("A100", 312e12, 80e9), ("L4", 121e12, 24e9))
"""Name, dense bf16 FLOP/s and memory as their maker states them."""


@dataclass(frozen=True, slots=True)
class DeviceEstimate:
    """How one device would do.

    Attributes:
        device: `"this CPU"` or the name of an accelerator.
        flops: FLOP/s assumed to be reached.
        memory: Bytes there (free ones for this machine), or None where that is not known.
        fits: Whether the model fits, or None where memory is not known.
        documents_per_hour: Documents of the plan's length.
        assumption: Where `flops` comes from.
    """

    device: str
    flops: float
    memory: int | None
    fits: bool | None
    documents_per_hour: float
    assumption: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one model needs.

    Attributes:
        name: As asked for.
        family: The kind of model.
        tokens: Tokens of a document.
        batch: Documents at a time.
        precision: What weights are stored in.
        attention: How a decoder reads a text; None for a masked model.
        parameters: All parameters of the model, exact where `exact`.
        adapter_parameters: Parameters of its LoRA adapter.
        vocabulary: Columns.
        weights: Bytes of all weights in each precision.
        activation_bytes: Estimate of what a batch needs beside the weights, with the fused head.
        avoided_bytes: The [batch, length, vocabulary] tensor that the fused head never makes, both copies of
            an echoed text in it.
        body_flop: FLOP of the layers a document (twice the text when echoed).
        head_flop: FLOP of the head a document (the pooled copy only).
        exact: Whether parameters were counted by the arithmetic of a known family.
        devices: How devices would do.
    """

    name: str
    family: str
    tokens: int
    batch: int
    precision: str
    attention: Attention | None
    parameters: int
    adapter_parameters: int
    vocabulary: int
    weights: Mapping[str, int]
    activation_bytes: int
    avoided_bytes: int
    body_flop: float
    head_flop: float
    exact: bool = True
    devices: tuple[DeviceEstimate, ...] = ()

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in the plan's precision."""
        return self.weights[self.precision]

    @property
    def needed(self) -> int:
        """Bytes of weights and activations together."""
        return self.weight_bytes + self.activation_bytes

    def fits(self, memory: int) -> bool:
        """Whether so many bytes are enough."""
        return self.needed <= memory

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        values = asdict(self)
        return {
            **values,
            "weights": dict(self.weights),
            "weight_bytes": self.weight_bytes,
            "needed_bytes": self.needed,
            "devices": [asdict(device) for device in self.devices],
        }

    def lines(self) -> list[str]:
        """The plan as sentences for a terminal."""
        twice = ", the text twice" if self.attention == "echo" else ""
        found = [
            f"{self.name}: {self.parameters:,} parameters ({self.family}), {self.vocabulary:,} columns"
            + (f", adapter {self.adapter_parameters:,}" if self.adapter_parameters else ""),
            "weights: " + ", ".join(f"{gigabytes(size)} in {name}" for name, size in self.weights.items()),
            f"a batch of {self.batch} x {self.tokens} tokens{twice}: about "
            f"{gigabytes(self.activation_bytes)} of activations; the [batch, length, "
            f"vocabulary] tensor that is not made would take {gigabytes(self.avoided_bytes)}",
            f"a document: {self.body_flop / 1e9:,.1f} GFLOP in the layers, "
            f"{self.head_flop / 1e9:,.1f} in the head",
        ]
        for device in self.devices:
            memory = "memory not known" if device.memory is None else f"of {gigabytes(device.memory)}"
            verdict = {True: "fits", False: "does not fit", None: "needs"}[device.fits]
            found.append(
                f"{device.device}: {verdict} ({gigabytes(self.needed)} in {self.precision} {memory}); "
                f"estimate {device.documents_per_hour:,.0f} documents an hour, assuming {device.assumption}"
            )
        return found


def make_plan(
    name_or_path: str | Path,
    *,
    tokens: int = 256,
    batch: int = 8,
    precision: str = "auto",
    attention: Attention | None = None,
) -> Plan:
    """Plan a model by name or folder, with estimates for this CPU and three accelerators.

    Args:
        name_or_path: A name out of `KNOWN`, or a folder with a `config.json` (weights are not needed).
        tokens: Tokens of a document.
        batch: Documents at a time.
        precision: A name out of `PRECISIONS`; `"auto"` for what the folder asks (float32 where it asks
            nothing, bfloat16 for a decoder by name), `"fast"` for bfloat16.
        attention: How a decoder reads a text; None for what the folder says, else `"echo"`.

    Raises:
        UnknownEncoderError: Neither a known name nor such a folder.
        InputError: Sizes missing, or an option that is none.

    Example:
        >>> plan = make_plan("mistral-7b", precision="bfloat16")
        >>> plan.parameters, plan.fits(16 << 30), plan.fits(12 << 30)
        (7241732096, True, False)
    """
    if tokens < 1 or batch < 1:
        raise InputError(f"A plan needs tokens and batch of at least 1, not {tokens} and {batch}.")
    name, architecture, asked, stated, adapter = _find(name_or_path)
    plan = plan_architecture(
        architecture,
        name=name,
        tokens=tokens,
        batch=batch,
        precision=asked if precision == "auto" else "bfloat16" if precision == "fast" else precision,
        attention=(attention or stated) if architecture.causal else None,
        adapter=adapter,
    )
    return replace(plan, devices=tuple(_estimates(plan)))


def plan_architecture(
    architecture: Architecture,
    *,
    name: str,
    tokens: int,
    batch: int,
    precision: str,
    attention: Attention | None,
    adapter: int = 0,
    device: str = "cpu",
) -> Plan:
    """The arithmetic of a plan, without estimates of devices.

    Per token the layers cost two FLOP a weight, attention four times its width for every token seen, and
    the head two FLOP a weight for every pooled token.

    Args:
        architecture: The model.
        name: What messages call it.
        tokens: Tokens of a document.
        batch: Documents at a time.
        precision: A name out of `PRECISIONS`.
        attention: How a decoder reads a text; None for a masked model.
        adapter: Parameters of a LoRA adapter.
        device: `"cpu"` or `"cuda"`.

    Raises:
        InputError: No such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision={precision!r} is not one of auto, fast, {', '.join(PRECISIONS)}.")
    a = architecture
    read = 2 * tokens if attention == "echo" else tokens
    width = PRECISIONS[precision] if precision in ("float32",) else 2.0
    states = 3 * a.hidden + 2 * a.query_width + 2 * a.key_width + (3 if a.gated else 2) * a.intermediate
    seen = 4.0 * a.layers * a.query_width * read
    return Plan(
        name=name,
        family=a.family,
        tokens=tokens,
        batch=batch,
        precision=precision,
        attention=attention,
        parameters=a.parameters,
        adapter_parameters=adapter,
        vocabulary=a.vocabulary,
        weights={kind: _weight_bytes(a, kind, adapter) for kind in PRECISIONS},
        activation_bytes=int(batch * read * states * width)
        + 2 * batch * a.vocabulary * 4
        + _HEAD_BYTES["cuda" if device.startswith("cuda") else "cpu"],
        avoided_bytes=int(batch * read * a.vocabulary * width),
        body_flop=read * (2.0 * a.layer_weights + seen),
        head_flop=tokens * 2.0 * a.head_weights,
        exact=a.exact,
    )


def _weight_bytes(architecture: Architecture, precision: str, adapter: int) -> int:
    """Bytes of all weights; quantised are the matrices of the layers only, as bitsandbytes does it."""
    each = PRECISIONS[precision]
    if precision not in ("int8", "int4"):
        return int((architecture.parameters + adapter) * each)
    others = architecture.parameters - architecture.layer_weights + adapter
    return int(architecture.layer_weights * each) + 2 * others


def _find(name_or_path: str | Path) -> tuple[str, Architecture, str, Attention, int]:
    """Name, sizes, precision that is asked for, attention, adapter's parameters."""
    key = str(name_or_path)
    if key in KNOWN:
        architecture = read_architecture(KNOWN[key], where=key)
        return key, architecture, "bfloat16" if architecture.causal else "float32", "echo", 0
    path = Path(name_or_path)
    if not path.is_dir():
        known = ", ".join(KNOWN)
        raise UnknownEncoderError(
            f"There is no model {key!r} to plan: known are {known}; otherwise give a folder."
        )
    architecture = read_architecture(read_object(_config_file(path)), where=str(path))
    if not is_decoder_folder(path):
        return path.resolve().name, architecture, "float32", "echo", 0
    settings = read_settings(path)
    asked = {"8bit": "int8", "4bit": "int4"}.get(settings.load_in or "", settings.dtype)
    adapter = _adapter_size(path / ADAPTER / ADAPTER_CONFIG, architecture)
    return path.resolve().name, architecture, asked, settings.attention, adapter


def _config_file(path: Path) -> Path:
    """The configuration of the (first) transformer in a folder."""
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        for file in sorted(path.glob(pattern)):
            if "model_type" in read_object(file):
                return file
    raise InputError(f"{path} holds no config.json of a transformer, so there is nothing to plan from.")


def _adapter_size(file: Path, architecture: Architecture) -> int:
    if not file.is_file():
        return 0
    stated = read_object(file)
    rank, targets = stated.get("r"), stated.get("target_modules")
    if not isinstance(rank, int) or not isinstance(targets, list) or not architecture.exact:
        return 0
    return adapter_parameters(architecture, rank=rank, targets=tuple(map(str, targets)))


def _estimates(plan: Plan) -> list[DeviceEstimate]:
    measured = measure_cpu()
    memory = available_memory("cpu")
    found = [
        _estimate(
            plan, "this CPU", measured, memory, f"{measured / 1e9:,.0f} GFLOP/s, measured now in float32"
        )
    ]
    for name, peak, size in _ACCELERATORS:
        says = f"{_UTILISATION:.0%} of {peak / 1e12:,.0f} TFLOP/s in bf16 (not measured)"
        found.append(_estimate(plan, name, _UTILISATION * peak, int(size), says))
    return found


def _estimate(plan: Plan, device: str, flops: float, memory: int | None, assumption: str) -> DeviceEstimate:
    fits = None if memory is None else plan.fits(memory)
    rate = 3600 * flops / (plan.body_flop + plan.head_flop)
    return DeviceEstimate(device, flops, memory, fits, rate, assumption)


def check_memory(plan: Plan, device: str) -> None:
    """Refuse a model that does not fit, before any weight is read.

    Args:
        plan: The model, with its precision and batch.
        device: Where it is to run.

    Raises:
        InputError: It needs more than is free there.
    """
    free = available_memory(device)
    if free is None or plan.fits(free):
        return
    raise InputError(
        f"{plan.name} needs {gigabytes(plan.needed)} on {device} ({gigabytes(plan.weight_bytes)} of weights "
        f"in {plan.precision}, {gigabytes(plan.activation_bytes)} for a batch of {plan.batch} x "
        f"{plan.tokens} tokens) and {gigabytes(free)} are free; take a smaller model, "
        "bfloat16, or load_in='8bit'."
    )
