"""From a decoder's folder to a model in memory: weights, adapter, quantisation, attention.

Weights come from safetensors only, without code of the folder and without the network; a LoRA adapter is
rebuilt from the plain numbers of its configuration. Nothing is loaded that does not fit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from lsr.encoders.decoder_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, DecoderFolder
from lsr.encoders.model_files import read_object
from lsr.encoders.pretrained import load_pretrained, loading_fault, quiet
from lsr.encoders.processor import is_installed
from lsr.errors import InputError, MissingExtraError, UnsupportedError

LOG = logging.getLogger(__name__)

AdapterUse = Literal["merged", "unmerged"]

_LORA_KEYS = (
    "r", "lora_alpha", "target_modules", "lora_dropout", "bias", "fan_in_fan_out", "use_rslora", "use_dora",
    "modules_to_save", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "exclude_modules",
)  # fmt: skip
"""What is taken from an adapter's configuration; other keys can start code or change the base weights."""

_QUANTISED_WARNING = {
    "8bit": "Weights stored in 8 bits change a sparse encoder's scores mildly (CSPLADE, int8 weight-only).",
    "4bit": "Weights stored in 4 bits destroyed retrieval with sparse decoders in the literature (CSPLADE: "
    "GPTQ and AWQ below MRR@10 10, int4 not mild): compare NDCG@10 with load_in='8bit' or none before use.",
}


def load_model(
    folder: DecoderFolder, *, device: str, dtype: torch.dtype, adapter: AdapterUse = "merged"
) -> torch.nn.Module:
    """A `transformers` causal language model with the folder's weights, in evaluation mode.

    Args:
        folder: The folder.
        device: A torch device.
        dtype: What weights are computed in.
        adapter: `"merged"` adds the adapter to the weights; `"unmerged"` keeps it apart and trainable, the
            base frozen. Quantised weights take no sum without loss: their adapter always stays apart.

    Returns:
        The model; with an unmerged adapter, its layers hold the adapter's parameters.

    Raises:
        MissingExtraError: transformers, peft or bitsandbytes is not installed.
        InputError: Weights missing, or an adapter that does not fit.
        UnsupportedError: An adapter of another kind, or quantisation that this device cannot run.
    """
    settings = folder.settings
    if settings.load_in is not None:
        check_quantisation(settings.load_in)
        LOG.warning("%s", _QUANTISED_WARNING[settings.load_in])
    with quiet():
        model = _load_base(folder, device=device, dtype=dtype)
        if folder.adapter is not None:
            model = _add_adapter(model, folder.adapter)
            if adapter == "merged" and settings.load_in is None:
                model = model.merge_and_unload()
            else:
                model = model.get_base_model()
    if settings.load_in is None:
        model = model.to(device)
    result: torch.nn.Module = model.eval()
    return result


def check_quantisation(load_in: str) -> None:
    """Whether bitsandbytes is there.

    Raises:
        MissingExtraError: It is not.
    """
    if not is_installed("bitsandbytes", "accelerate"):
        raise MissingExtraError(f"Loading a model in {load_in}", "quantised")


def _load_base(folder: DecoderFolder, *, device: str, dtype: torch.dtype) -> Any:
    try:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    except ImportError:
        raise MissingExtraError("A decoder model", "torch") from None
    options: dict[str, Any] = {}
    if folder.settings.load_in == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif folder.settings.load_in == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    if folder.settings.load_in is not None:
        options["device_map"] = {"": device}
    try:
        model, info = load_pretrained(AutoModelForCausalLM, folder.base, dtype=dtype, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers and bitsandbytes raise what they like
        raise _loading_error(folder, device, error) from error
    _check_complete(folder, info)
    return model


def _loading_error(folder: DecoderFolder, device: str, error: Exception) -> Exception:
    load_in = folder.settings.load_in
    if load_in is not None:
        return UnsupportedError(
            f"bitsandbytes cannot load the model in {folder.base} in {load_in} on {device} "
            f"({loading_fault(error)}); use another device, or load_in=None."
        )
    return InputError(f"The model in {folder.base} cannot be loaded ({loading_fault(error)}).")


def _check_complete(folder: DecoderFolder, info: Mapping[str, Any]) -> None:
    """transformers fills missing weights with random numbers and goes on; here that is an error."""
    missing = sorted(str(name) for name in info["missing_keys"])
    if folder.settings.head == "tied":
        missing = [name for name in missing if not name.startswith("lm_head.")]
    if missing or info["mismatched_keys"]:
        raise InputError(
            f"The weights in {folder.base} lack {missing[0] if missing else 'the right shapes'}; get the "
            "model again."
        )


def _add_adapter(model: Any, path: Path) -> Any:
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError:
        raise MissingExtraError("A model with a LoRA adapter", "train") from None
    from safetensors.torch import load_file

    stated = read_object(path / ADAPTER_CONFIG)
    if str(stated.get("peft_type", "")).upper() != "LORA":
        raise UnsupportedError(f"The adapter in {path} is of the kind {stated.get('peft_type')!r}, not LORA.")
    if stated.get("init_lora_weights", True) not in (True, False, "gaussian"):
        raise UnsupportedError(
            f"The adapter in {path} changes its base weights ({stated['init_lora_weights']}); convert it to "
            "a plain LoRA adapter with peft."
        )
    values = {key: stated[key] for key in _LORA_KEYS if stated.get(key) is not None}
    try:
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **values))
        result: Any = set_peft_model_state_dict(adapted, load_file(path / ADAPTER_WEIGHTS))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"The adapter in {path} does not fit its base model ({reason}).") from None
    lacking = [key for key in result.missing_keys if "lora_" in key]
    if lacking or result.unexpected_keys:
        name = (lacking or result.unexpected_keys)[0]
        raise InputError(f"The adapter in {path} does not fit its base model: {name}.")
    return adapted
