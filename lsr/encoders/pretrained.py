"""Models of `transformers` from a folder: from safetensors alone, without code of the folder, and quietly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def load_pretrained(kind: Any, folder: Path, *, dtype: Any, **options: Any) -> tuple[Any, Mapping[str, Any]]:
    """A model, and what transformers says of its weights.

    Args:
        kind: A class of transformers, such as `AutoModelForMaskedLM`.
        folder: The model's folder.
        dtype: The torch type of its weights.
        options: More for `from_pretrained`.

    Returns:
        The model, and the loading report with `missing_keys` and `mismatched_keys`.

    Raises:
        Exception: What transformers raised; it raises what it likes.
    """
    options = {
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
        "output_loading_info": True,
        _dtype_keyword(): dtype,
        **options,
    }
    with quiet():
        # Asked for by name, so that a configuration cannot name a kernel of the hub.
        try:
            model, info = kind.from_pretrained(str(folder), attn_implementation="sdpa", **options)
        except Exception as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            model, info = kind.from_pretrained(str(folder), attn_implementation="eager", **options)
    return model, info


def loading_fault(error: Exception) -> str:
    """What went wrong, as a part of a sentence: the kind of the error and its first line."""
    reason = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {reason}"


def _dtype_keyword() -> str:
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "torch_dtype" if (major, minor) < (4, 56) else "dtype"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers without reports and progress bars: progress is shown in one place only."""
    from transformers.utils import logging as hf

    before, bar = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(before)
        if bar:
            hf.enable_progress_bar()
