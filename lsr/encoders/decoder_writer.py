"""Writes a decoder's folder: base model, tokenizer, adapter, query table, and the settings last of all.

The reader is `lsr.encoders.decoder_folder`. Weights are written as safetensors; an adapter apart from its
base, so that the base can be shared or left where it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.decoder_folder import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    FORMAT,
    QUERY_TABLE,
    TABLE_NAME,
    TOKENIZER,
    DecoderFolder,
    DecoderSettings,
    digest_base,
    read_decoder_folder,
)
from lsr.encoders.model_files import read_object
from lsr.errors import InputError


def write_decoder_folder(
    path: str | Path,
    *,
    model: Any,
    tokenizer: Any,
    settings: DecoderSettings,
    adapter: Any = None,
    query_table: NDArray[np.float32] | None = None,
) -> DecoderFolder:
    """Write a folder that `lsr.encoders.decoder.load_decoder_encoder` reads.

    Args:
        path: The folder; made if it is not there.
        model: The base: a causal language model of `transformers` (its own weights are written, without those
            of an adapter that lives in its layers), or the path of a base folder that stays where it is.
        tokenizer: A fast tokenizer of `transformers`, or a `tokenizers.Tokenizer`.
        settings: How the model reads a text.
        adapter: A `peft.PeftModel` with one LoRA adapter, or None.
        query_table: float32 [V], a weight a token id, where `settings.queries` is `"table"`.

    Returns:
        The folder as it is read back.

    Raises:
        InputError: A query table without `queries="table"` or the other way round, or a tokenizer that has
            no `tokenizer.json`.
    """
    if (query_table is not None) != (settings.queries == "table"):
        raise InputError(
            "A query table and settings with queries='table' belong together; give both or none."
        )
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    elsewhere = Path(model) if isinstance(model, str | Path) else None
    if elsewhere is None:
        _write_base(path, model)
    else:
        # A copy of the configuration, so that the folder can be planned without its base.
        (path / "config.json").write_bytes((elsewhere / "config.json").read_bytes())
    _write_tokenizer(path, tokenizer)
    if adapter is not None:
        _write_adapter(path / ADAPTER, adapter)
    if query_table is not None:
        from safetensors.numpy import save_file

        save_file({TABLE_NAME: np.ascontiguousarray(query_table, np.float32)}, path / QUERY_TABLE)
    stated = {
        "format": FORMAT,
        "settings": asdict(settings),
        "base": None if elsewhere is not None else "",
        "base_digest": digest_base(path if elsewhere is None else elsewhere),
        "adapter": None if adapter is None else ADAPTER,
    }
    text = json.dumps(stated, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (path / CONFIG).write_text(text, encoding="utf-8")
    return read_decoder_folder(path, base=elsewhere)


def _write_base(path: Path, model: Any) -> None:
    """The model's own weights under their own names, as if no adapter had ever been set into its layers."""
    state = {}
    for name, tensor in model.state_dict().items():
        if ".lora_" not in name and ".modules_to_save." not in name:
            plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
            state[plain] = tensor
    from lsr.encoders.pretrained import quiet

    with quiet():
        model.save_pretrained(path, state_dict=state, safe_serialization=True, save_peft_format=False)
    for file in (path / ADAPTER_CONFIG, path / "generation_config.json"):
        file.unlink(missing_ok=True)


def _write_tokenizer(path: Path, tokenizer: Any) -> None:
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(path)
    elif hasattr(tokenizer, "to_str"):
        (path / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    if not (path / TOKENIZER).is_file():
        raise InputError(
            "The tokenizer has no tokenizer.json (a slow one of transformers); load it with use_fast=True."
        )


def _write_adapter(path: Path, adapter: Any) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    path.mkdir(exist_ok=True)
    # False: embeddings that were not trained belong to the base, and finding out would ask the hub.
    state = get_peft_model_state_dict(adapter, save_embedding_layers=False)
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path / ADAPTER_WEIGHTS
    )
    adapter.peft_config[adapter.active_adapter].save_pretrained(str(path))
    config = read_object(path / ADAPTER_CONFIG)
    # Where the base lay while training says nothing here and may name a private path.
    config["base_model_name_or_path"] = None
    text = json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (path / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
