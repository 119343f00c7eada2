"""What the machine can do, read from what it says of itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr.encoders import processor


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What the functions remember is of the real machine, before and after."""
    yield
    processor.processor_flags.cache_clear()
    processor.cuda_devices.cache_clear()


def says(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read(self: Path, encoding: str) -> str:
        assert str(self) == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(self)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    processor.processor_flags.cache_clear()


@pytest.mark.parametrize(
    ("flags", "products", "bfloat16"),
    [
        ("flags\t\t: fpu sse4_2 avx2", False, False),
        ("flags\t\t: avx2 avx512f avx512_vnni", True, False),
        ("flags\t\t: avx2 avx_vnni", True, False),
        ("flags\t\t: avx512_vnni avx512_bf16 amx_bf16 amx_int8", True, True),
        ("Features\t: fp asimd i8mm bf16", False, True),
        (None, False, False),
    ],
)
def test_instructions(monkeypatch, flags: str | None, products: bool, bfloat16: bool) -> None:
    says(monkeypatch, flags if flags is None else f"processor\t: 0\n{flags}\n\nprocessor\t: 1\n{flags}\n")
    assert processor.has_8_bit_products() is products
    assert processor.has_bfloat16() is bfloat16


def test_no_arm_saturates(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, None)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert processor.has_8_bit_products()


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= processor.usable_cores() <= (os.cpu_count() or 1)
    if not hasattr(os, "sched_setaffinity"):
        return
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from lsr.encoders.processor import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


class Driver:
    """A CUDA driver of two devices, or one that fails to start."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def cuInit(self, flags: int) -> int:
        return int(self.fails)

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = 2
        return 0


@pytest.mark.parametrize(("fails", "devices"), [(False, 2), (True, 0), (None, 0)])
def test_gpus_are_counted_by_the_driver(monkeypatch, fails: bool | None, devices: int) -> None:
    def load(name: str) -> Driver:
        if fails is None:
            raise OSError(name)
        return Driver(fails)

    monkeypatch.setattr(ctypes, "CDLL", load)
    processor.cuda_devices.cache_clear()
    assert processor.cuda_devices() == devices
