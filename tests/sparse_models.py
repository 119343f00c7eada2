"""Tiny random sparse encoders in every form that the package reads, written as other programs write them.

Nothing here comes from `lsr`: the folders are laid out by hand, or saved by transformers, so that a test
reads what a stranger made. torch and transformers are imported inside: only tests marked `torch` have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = """
the of a in to and is for on with by from at as how do what why vaccine vaccines virus viruses immune
system train protect people health study studies data risk disease patients heart attack cancer cell
cells blood water energy climate change ocean earth sun moon city river history war king trade market
bank money search index query document term weight sparse neural model language learn work works cause
effect effects new old good bad high low big small ##s ##ing ##ed ##er ##ly ##tion ##al ##e ##n ##t
"""
WORDS = tuple(_WORDS.split())
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()-/&%")
TEXTS = (
    "How do vaccines train the immune system?",
    "Vaccines protect people from viruses; the immune system learns.",
    "",
    "   ",
    "Climate change: effects on the ocean, 1990-2020 (a study)",
    "heart attack risk " * 40,
    "zzz qqq xylophone ÄÖÜ straße 東京 [MASK] [SEP] naïve",
    "a",
)

_ST_OLD = "sentence_transformers.sparse_encoder.models."
_ST_NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "MLMTransformer": "sentence_transformers.sparse_encoder.modules.mlm_transformer.MLMTransformer",
    "SpladePooling": "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling",
    "SparseStaticEmbedding": (
        "sentence_transformers.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding"
    ),
    "Router": "sentence_transformers.base.modules.router.Router",
}
Names = Literal["old", "new"]


def bert_vocabulary() -> list[str]:
    """The word pieces of the tiny BERT models: words, letters, and letters that continue a word."""
    return list(dict.fromkeys([*SPECIALS, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS[:36])]))


def write_bert_tokenizer(path: Path, *, cased: bool = False, limit: int = 64) -> None:
    """`tokenizer.json` and `tokenizer_config.json` of a tiny BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    path.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(bert_vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.save(str(path / "tokenizer.json"))
    named = dict(
        zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIALS, strict=True)
    )
    stated = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": not cased,
        "model_max_length": limit,
        **named,
    }
    _dump(path / "tokenizer_config.json", stated)


def write_tensors(file: Path, tensors: Mapping[str, Any]) -> None:
    """float32 arrays as a safetensors file, by hand."""
    import numpy as np

    arrays = {name: np.asarray(values, "<f4") for name, values in tensors.items()}
    header, offset = {}, 0
    for name, array in arrays.items():
        span = [offset, offset + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        offset += array.nbytes
    head = json.dumps(header).encode("utf-8")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(a.tobytes() for a in arrays.values()))


def write_bare(path: Path, *, limit: int = 64, positions: int | None = 64, **config: Any) -> Path:
    """A folder that looks like a BERT and holds no real weights: for what is read without running it."""
    stated = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": len(bert_vocabulary()),
    }
    more = {} if positions is None else {"max_position_embeddings": positions}
    _dump(path / "config.json", {**stated, "dtype": "float32", **more, **config})
    write_tensors(path / "model.safetensors", {"weights": [1.0, 2.0, 3.0]})
    write_bert_tokenizer(path, limit=limit)
    return path


def write_bert(
    path: Path,
    *,
    kind: Literal["bert", "distilbert"] = "bert",
    seed: int = 0,
    positions: int = 64,
    limit: int = 64,
    dtype: str = "float32",
    tied: bool = True,
    cased: bool = False,
    extra_columns: int = 0,
) -> Path:
    """A plain Hugging Face folder of a random BERT or DistilBERT with its MLM head.

    Args:
        path: The folder to make.
        kind: The architecture.
        seed: Of the weights.
        positions: `max_position_embeddings`.
        limit: The tokenizer's `model_max_length`.
        dtype: Of the stored weights.
        tied: Whether the head shares the input embeddings.
        cased: Whether the tokenizer keeps case.
        extra_columns: Rows of the output matrix behind the tokenizer's last id.
    """
    from transformers import BertConfig, BertForMaskedLM, DistilBertConfig, DistilBertForMaskedLM

    size = len(bert_vocabulary()) + extra_columns
    if kind == "bert":
        model = BertForMaskedLM(
            BertConfig(
                vocab_size=size,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=positions,
                tie_word_embeddings=tied,
            )
        )
    else:
        model = DistilBertForMaskedLM(
            DistilBertConfig(
                vocab_size=size,
                dim=32,
                n_layers=2,
                n_heads=4,
                hidden_dim=64,
                max_position_embeddings=positions,
                tie_word_embeddings=tied,
            )
        )
    _save(model, path, seed, dtype)
    write_bert_tokenizer(path, cased=cased, limit=limit)
    return path


def write_roberta(path: Path, *, seed: int = 0, positions: int = 66, limit: int | None = None) -> Path:
    """A plain Hugging Face folder of a random RoBERTa: byte-level BPE, positions from 2 on."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXTS, " ".join(WORDS)], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        **({} if limit is None else {"model_max_length": limit}),
    )
    model = RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=positions,
            type_vocab_size=1,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
    )
    _save(model, path, seed, "float32")
    wrapped.save_pretrained(path)
    return path


def _save(model: Any, path: Path, seed: int, dtype: str) -> None:
    """Random weights large enough that about half of the columns are above 0 and all differ."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2, generator=generator)
    path.mkdir(parents=True, exist_ok=True)
    model.to(getattr(torch, dtype)).save_pretrained(path)


def write_settings(
    path: Path,
    *,
    prompts: Mapping[str, str | None] | None = None,
    max_active_dims: int | None = None,
    own: Mapping[str, Any] | None = None,
    **others: Any,
) -> None:
    """`config_sentence_transformers.json`; `own` are the settings of this package."""
    stated: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "__version__": {"sentence_transformers": "5.0.0", "transformers": "4.50.0", "pytorch": "2.6.0"},
        "prompts": {"query": "", "document": ""} if prompts is None else dict(prompts),
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
        **others,
    }
    if max_active_dims is not None:
        stated["max_active_dims"] = max_active_dims
    if own is not None:
        stated["lsr"] = dict(own)
    _dump(path / "config_sentence_transformers.json", stated)


def write_symmetric(
    path: Path,
    *,
    pool: str = "max",
    activation: str = "relu",
    names: Names = "new",
    module: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    make: Callable[..., Path] | None = None,
    **model: Any,
) -> Path:
    """A symmetric SparseEncoder folder.

    Args:
        path: The folder to make.
        pool: `pooling_strategy`.
        activation: `activation_function`.
        names: Module names as version 5.0 of sentence-transformers wrote them, or as later ones do.
        module: More of `sentence_bert_config.json`: `max_seq_length`, `do_lower_case` …
        settings: Arguments of `write_settings`.
        make: What writes the model: `write_bert` (the default), `write_roberta`, `write_bare`.
        **model: Its arguments.
    """
    (make or write_bert)(path, **model)
    transformer = "MLMTransformer" if names == "old" else "Transformer"
    _dump(
        path / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": type_name(transformer, names)},
            {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": type_name("SpladePooling", names)},
        ],
    )
    write_transformer_settings(path, names, module)
    write_pooling(path / "1_SpladePooling", pool, activation, names)
    write_settings(path, **(settings or {}))
    return path


def write_router(
    path: Path,
    *,
    weights: Sequence[float] | None = None,
    names: Names = "new",
    query_limit: int = 64,
    idf: bool = False,
    pool: str = "max",
    activation: str = "relu",
    module: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    make: Callable[..., Path] | None = None,
    **model: Any,
) -> Path:
    """An asymmetric SparseEncoder folder: a Router with a table for queries.

    Args:
        path: The folder to make.
        weights: The table; random otherwise, with some entries 0.
        names: As in `write_symmetric`.
        query_limit: `model_max_length` of the queries' tokenizer.
        idf: Whether the table is an `idf.json` and no tensor.
        pool: As in `write_symmetric`.
        activation: As in `write_symmetric`.
        module: As in `write_symmetric`, of the documents' transformer.
        settings: Arguments of `write_settings`.
        parameters: Of the Router: `route_mappings` …
        make: As in `write_symmetric`.
        **model: Its arguments.
    """
    transformer = "MLMTransformer" if names == "old" else "Transformer"
    steps = {
        "query_0_SparseStaticEmbedding": "SparseStaticEmbedding",
        f"document_0_{transformer}": transformer,
        "document_1_SpladePooling": "SpladePooling",
    }
    table, document, pooling = (path / step for step in steps)
    (make or write_bert)(document, **model)
    write_transformer_settings(document, names, module)
    write_pooling(pooling, pool, activation, names)
    write_bert_tokenizer(table, limit=query_limit)
    write_table(table, random_table() if weights is None else weights, idf=idf)
    router = "sentence_transformers.models.Router" if names == "old" else _ST_NEW["Router"]
    _dump(path / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": router}])
    _dump(
        path / "router_config.json",
        {
            "types": {step: type_name(name, names) for step, name in steps.items()},
            "structure": {"query": [table.name], "document": [document.name, pooling.name]},
            "parameters": {"default_route": "document", "allow_empty_key": True, **(parameters or {})},
        },
    )
    write_settings(path, **(settings or {}))
    return path


def write_idf(
    path: Path,
    *,
    weights: Mapping[str, float] | None = None,
    make: Callable[..., Path] | None = None,
    **model: Any,
) -> Path:
    """A plain folder with an `idf.json`, as OpenSearch publishes its doc-only models."""
    (make or write_bert)(path, **model)
    named = weights if weights is not None else dict(zip(bert_vocabulary(), random_table(), strict=True))
    _dump(path / "idf.json", named)
    return path


def random_table(*, seed: int = 0) -> list[float]:
    """A weight for each word piece, every seventh 0."""
    import random

    source = random.Random(seed)
    size = len(bert_vocabulary())
    return [0.0 if i % 7 == 3 else round(source.uniform(0.1, 9.0), 4) for i in range(size)]


def write_table(path: Path, weights: Sequence[float], *, idf: bool = False) -> None:
    """The weights of a SparseStaticEmbedding: `model.safetensors`, or an `idf.json` that it names."""
    if idf:
        _dump(path / "idf.json", dict(zip(bert_vocabulary(), weights, strict=True)))
        _dump(path / "config.json", {"frozen": True, "path": "idf.json"})
        return
    write_tensors(path / "model.safetensors", {"weight": list(weights)})
    _dump(path / "config.json", {"frozen": False})


def write_transformer_settings(path: Path, names: Names, more: Mapping[str, Any] | None = None) -> None:
    """`sentence_bert_config.json` of the given age."""
    old = {"max_seq_length": 64, "do_lower_case": False}
    new = {
        "transformer_task": "fill-mask",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "module_output_name": "token_embeddings",
    }
    _dump(path / "sentence_bert_config.json", {**(old if names == "old" else new), **(more or {})})


def write_pooling(path: Path, pool: str, activation: str, names: Names) -> None:
    """The folder of a SpladePooling."""
    path.mkdir(parents=True, exist_ok=True)
    width = "word_embedding_dimension" if names == "old" else "embedding_dimension"
    stated = {"pooling_strategy": pool, "activation_function": activation, width: len(bert_vocabulary())}
    _dump(path / "config.json", stated)


def type_name(name: str, names: Names) -> str:
    """A module's type as `modules.json` names it."""
    return _ST_OLD + name if names == "old" else _ST_NEW[name]


def _dump(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2), encoding="utf-8")
