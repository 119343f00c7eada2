"""Tiny causal language models with random weights and a small tokenizer, for tests without downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lsr.encoders.decoder_folder import DecoderSettings

TEXTS = (
    "vaccines train the immune system",
    "aspirin reduces the risk of heart attack in patients with diabetes",
    "learned sparse retrieval weights terms of a document",
    "winter wind",
)
WORDS = sorted({word for text in (*TEXTS, "how do vaccines work", "query document") for word in text.split()})


def make_tokenizer(*, begin: bool = True, end: bool = False) -> Any:
    """A `tokenizers.Tokenizer` of whole words, `<s>` before each text and `</s>` behind where asked."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    names = ["<unk>", "<s>", "</s>", ":", *WORDS]
    tokenizer = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    single = " ".join([*(["<s>"] if begin else []), "$A", *(["</s>"] if end else [])])
    special = [(name, i) for name, i, used in (("<s>", 1, begin), ("</s>", 2, end)) if used]
    if special:
        tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=special)
    return tokenizer


def tiny_config(family: str, **changes: Any) -> Any:
    """A configuration of `"mistral"`, `"qwen2"`, `"qwen3"` or `"llama"`: two layers, 32 wide, 48 tokens."""
    from transformers import AutoConfig

    sizes = {
        "vocab_size": 48,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "pad_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return AutoConfig.for_model(family, **{**sizes, **changes})


def make_model(family: str = "mistral", *, seed: int = 0, **changes: Any) -> Any:
    """A causal language model with random weights that spread its logits over both sides of 0."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(tiny_config(family, **changes)).eval()


def add_lora(model: Any, *, rank: int = 4, seed: int = 1) -> Any:
    """A `peft.PeftModel` around a model, its LoRA matrices random (peft's own start changes nothing)."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    targets = ["q_proj", "v_proj", "down_proj"]
    adapted = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted


def write_tiny(
    path: Path,
    *,
    model: Any = None,
    adapter: Any = None,
    tokenizer: Any = None,
    query_table: Any = None,
    **settings: Any,
) -> Any:
    """A decoder's folder; keywords besides its parts are settings."""
    from lsr.encoders.decoder_writer import write_decoder_folder

    return write_decoder_folder(
        path,
        model=make_model() if model is None else model,
        tokenizer=tokenizer or make_tokenizer(),
        settings=DecoderSettings(**{"max_length": 32, **settings}),
        adapter=adapter,
        query_table=query_table,
    )


def load_tiny(path: Path) -> Any:
    """The encoder of a folder, on the CPU."""
    from lsr.encoders.decoder import load_decoder_encoder

    return load_decoder_encoder(path, device="cpu")


def run_tiny(folder: Any, **options: Any) -> Any:
    """The backend of a folder that was read, on the CPU."""
    from lsr.encoders.decoder import DecoderBackend

    return DecoderBackend(folder, device="cpu", **options)


def dense_rows(rows: Any, width: int) -> Any:
    """Sparse rows, checked, as float32 [n, width]."""
    matrix = np.zeros((len(rows), width), np.float32)
    for i, (columns, weights) in enumerate(rows):
        assert (np.diff(columns) > 0).all() and (weights > 0).all()
        matrix[i, columns] = weights
    return matrix


def decoder_of(model: Any, attention: Any, **settings: Any) -> Any:
    """A model with its sparse head over 32 columns."""
    from lsr.encoders.decoder_model import SparseDecoder

    return SparseDecoder(model, DecoderSettings(attention=attention, **settings), columns=32)
