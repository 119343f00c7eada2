"""What the machine can do: cores, instructions, GPUs, and which packages are there, without importing any."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def is_installed(*packages: str) -> bool:
    """Whether all of these packages can be imported."""
    return all(find_spec(package) is not None for package in packages)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def processor_flags() -> frozenset[str]:
    """Instruction sets as /proc/cpuinfo names them; empty where there is no such file."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


def has_bfloat16() -> bool:
    """Whether products of bfloat16 numbers are an instruction."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & processor_flags())


def has_8_bit_products() -> bool:
    """Whether sums of four 8-bit products go straight to 32 bits: without it they saturate in 16 bits."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & processor_flags())


@cache
def cuda_devices() -> int:
    """How many CUDA devices the driver sees; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return int(count.value)
