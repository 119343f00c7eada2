"""Texts to token ids, as Hugging Face and sentence-transformers read a model's folder, on `tokenizers` alone.

The folder's `tokenizer.json` holds nearly everything; what lies beside it can override it there, and so here:
case and accents of BERT tokenizers, special tokens named apart from the file, the side that is cut. A folder
of an older BERT model without that file is read from its `vocab.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.model_files import content_hash, read_json_if_there, read_text
from lsr.errors import InputError, InputFileError, UnsupportedError

NO_LIMIT = 2**31 - 1
"""The limit of a tokenizer that states none."""

_BERT_CLASSES = frozenset(
    f"{name}Tokenizer"
    for name in (
        "Bert", "ConvBert", "DistilBert", "Electra", "Ernie", "LayoutLM", "MegatronBert", "MobileBert",
        "MPNet", "Nezha", "NomicBert", "QDQBert", "Realm", "RetriBert", "SqueezeBert",
    )
)  # fmt: skip
_BERT_MODELS = frozenset(
    ("bert", "convbert", "distilbert", "electra", "ernie", "megatron-bert", "mobilebert", "mpnet", "nezha",
     "nomic_bert", "qdqbert", "squeezebert")
)  # fmt: skip
_BERT_SPECIALS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_NAMED_SPECIALS = (*_BERT_SPECIALS, "bos_token", "eos_token")
_CASE = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
_EXTRA = ("additional_special_tokens", "extra_special_tokens")
_ADDED = ("added_tokens_decoder", *_EXTRA)


class Tokeniser:
    """A model's tokenizer with its limit.

    Args:
        path: The folder that holds `tokenizer.json` (or `vocab.txt`), or that file.
        max_length: Token ids kept of each text, special ones included.
        lower_case: Whether texts are lowered first, as `do_lower_case` of sentence-transformers asks.

    Raises:
        InputFileError: No tokenizer there.
        InputError: A damaged one.
        UnsupportedError: One that needs code of its own, or another library.
    """

    def __init__(self, path: Path, max_length: int, *, lower_case: bool = False) -> None:
        folder = path if path.is_dir() else path.parent
        settings = tokenizer_settings(folder)
        self._setup(_build(folder, settings, lower_case), max_length, _cut_side(settings))

    def _setup(self, tokenizer: Any, max_length: int, side: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._encode_all = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        self._added = int(tokenizer.num_special_tokens_to_add(False))
        self.max_length = max_length
        self.side = side
        self._check_limit(max_length)

    @classmethod
    def from_bytes(cls, data: bytes, *, max_length: int, side: str = "right") -> Tokeniser:
        """What `to_bytes` gave.

        Raises:
            InputError: Damaged.
        """
        self = cls.__new__(cls)
        self._setup(_parse(data.decode("utf-8"), "The stored tokenizer"), max_length, side)
        return self

    def to_bytes(self) -> bytes:
        """The tokenizer with everything that was read beside it, as one JSON document."""
        return str(self._tokenizer.to_str()).encode("utf-8")

    def encode(
        self, texts: Sequence[str], *, special: bool = True, max_length: int | None = None
    ) -> tuple[list[list[int]], NDArray[np.int32]]:
        """Token ids of texts, cut at the limit; the special tokens around a text stay.

        Args:
            texts: n texts.
            special: Whether the special tokens ([CLS], [SEP] …) are put around each.
            max_length: Another limit, special tokens included.

        Returns:
            n lists of ids, and int32 [n]: how many ids of each text were cut.

        Raises:
            InputError: A limit that leaves no room for the special tokens.

        Example:
            >>> from lsr.encoders.loading import bundled_models
            >>> tokeniser = Tokeniser(bundled_models()["lsr-en-1"], 4)
            >>> tokeniser.encode(["vaccines train the immune system"])
            ([[101, 28896, 3345, 102]], array([3], dtype=int32))
        """
        limit = self._check_limit(max_length) if max_length is not None else self.max_length
        rows, cut = [], np.zeros(len(texts), np.int32)
        for i, encoding in enumerate(self._encodings(texts, special)):
            ids = encoding.ids
            if len(ids) > limit:
                cut[i] = len(ids) - limit
                ids = self._shorten(encoding, limit)
            rows.append(ids)
        return rows, cut

    def ids(self, text: str) -> list[int]:
        """The ids of one text without special tokens, cut at the limit: the short way for a query."""
        try:
            found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError):
            found = self._tokenizer.encode(_mend(text), add_special_tokens=False).ids
        if len(found) <= self.max_length:
            return found
        return found[: self.max_length] if self.side == "right" else found[-self.max_length :]

    def columns_of(self, text: str) -> NDArray[np.int32]:
        """The distinct ids of a text without special tokens, ascending: int32 [m]."""
        return np.array(sorted(set(self.ids(text))), np.int32)

    def _encodings(self, texts: Sequence[str], special: bool) -> list[Any]:
        try:
            return list(self._encode_all(list(texts), add_special_tokens=special))
        except (TypeError, UnicodeEncodeError):
            # A lone surrogate has no UTF-8: such a character is read as the replacement character.
            return list(self._encode_all([_mend(text) for text in texts], add_special_tokens=special))

    def _shorten(self, encoding: Any, limit: int) -> list[int]:
        ids: list[int] = encoding.ids
        added = encoding.special_tokens_mask
        before = next((i for i, mark in enumerate(added) if not mark), len(ids))
        after = next((i for i, mark in enumerate(reversed(added)) if not mark), 0)
        content, room = ids[before : len(ids) - after], limit - before - after
        kept = content[:room] if self.side == "right" else content[len(content) - room :]
        return [*ids[:before], *kept, *ids[len(ids) - after :]]

    def _check_limit(self, limit: int) -> int:
        if limit <= self._added:
            raise InputError(
                f"max_length={limit} leaves no room for a text beside the {self._added} special tokens; "
                f"give at least {self._added + 1}."
            )
        return limit

    @cached_property
    def vocabulary(self) -> list[str]:
        """Every token in the order of ids; an id without a token is `"[id:N]"`."""
        tokens = self._tokenizer.get_vocab(with_added_tokens=True)
        names = [f"[id:{i}]" for i in range(max(tokens.values(), default=-1) + 1)]
        for token, column in tokens.items():
            names[column] = token
        return names

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of special tokens."""
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(column for column, token in added.items() if token.special)

    def id_of(self, token: str) -> int | None:
        """The id of a token, or None."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """What lies beside `tokenizer.json`: `tokenizer_config.json`, with the special tokens named elsewhere.

    Raises:
        InputError: Not JSON.
        UnsupportedError: A tokenizer with code of its own.
    """
    settings = read_json_if_there(folder / "tokenizer_config.json")
    if settings.get("auto_map"):
        raise UnsupportedError(
            f"The tokenizer in {folder} needs code of its own (auto_map), and code of a model folder is "
            "never run; save it as a plain tokenizer.json without auto_map."
        )
    if "added_tokens_decoder" not in settings:  # else the older file is out of use, as in transformers
        settings = {**settings, **read_json_if_there(folder / "special_tokens_map.json")}
    settings.setdefault("model_type", read_json_if_there(folder / "config.json").get("model_type"))
    return settings


def tokenizer_parts(folder: Path) -> list[Any]:
    """What token ids depend on, for a fingerprint: the file's hash, and the settings read beside it."""
    settings = tokenizer_settings(folder)
    names = [name for name in ("tokenizer.json", "vocab.txt") if (folder / name).is_file()][:1]
    read = {key: settings.get(key) for key in (*_NAMED_SPECIALS, *_CASE, *_ADDED)}
    return [[name, content_hash(folder / name)] for name in names] + [
        {key: value for key, value in read.items() if value is not None},
        is_bert(settings),
        _cut_side(settings),
    ]


def limit_of(settings: Mapping[str, Any]) -> int:
    """The limit that a tokenizer states (`model_max_length`), or `NO_LIMIT`."""
    limit = settings.get("model_max_length", settings.get("max_len"))
    if isinstance(limit, (int, float)) and not isinstance(limit, bool) and 0 < limit < NO_LIMIT:
        return int(limit)
    return NO_LIMIT


def unknown_token(settings: Mapping[str, Any]) -> str | None:
    """The token that stands for what is not in the vocabulary, or None."""
    stated = _content(settings.get("unk_token"))
    return stated or ("[UNK]" if is_bert(settings) else None)


def _cut_side(settings: Mapping[str, Any]) -> str:
    return "left" if settings.get("truncation_side") == "left" else "right"


def is_bert(settings: Mapping[str, Any]) -> bool:
    """Whether the settings name a tokenizer of BERT's kind, by its class or by the model's type."""
    stated = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    return stated in _BERT_CLASSES if stated else settings.get("model_type") in _BERT_MODELS


def _build(folder: Path, settings: Mapping[str, Any], lower_case: bool) -> Any:
    if (folder / "tokenizer.json").is_file():
        tokenizer = _parse(read_text(folder / "tokenizer.json"), str(folder / "tokenizer.json"))
        if is_bert(settings):
            _apply_bert_settings(tokenizer, settings)
    elif (folder / "vocab.txt").is_file() and is_bert(settings):
        tokenizer = _from_vocabulary(folder / "vocab.txt", settings)
    else:
        raise InputFileError(
            f"{folder} holds no tokenizer.json; save one with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    _add_tokens(tokenizer, settings)
    return _lowered(tokenizer) if lower_case else tokenizer


def _parse(text: str, where: str) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        reason = str(error).splitlines()[0][:200] if str(error) else "unreadable"
        raise InputError(f"{where} is no tokenizer that this version reads ({reason}).") from None


def _apply_bert_settings(tokenizer: Any, settings: Mapping[str, Any]) -> None:
    """Case and accents as `tokenizer_config.json` states them: they override `tokenizer.json`."""
    from tokenizers.normalizers import BertNormalizer

    if isinstance(tokenizer.normalizer, BertNormalizer):
        tokenizer.normalizer = _bert_normaliser(settings)


def _bert_normaliser(settings: Mapping[str, Any]) -> Any:
    from tokenizers.normalizers import BertNormalizer

    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )


def _from_vocabulary(file: Path, settings: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    lines = read_text(file).removesuffix("\n").split("\n")
    vocabulary = {line.rstrip(): i for i, line in enumerate(lines)}
    names = {key: _content(settings.get(key)) or token for key, token in _BERT_SPECIALS.items()}
    absent = sorted(token for token in names.values() if token not in vocabulary)
    if absent:
        raise InputError(f"{file} lacks the special token {absent[0]!r} of this tokenizer.")
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=names["unk_token"]))
    tokenizer.normalizer = _bert_normaliser(settings)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    begin, end = names["cls_token"], names["sep_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(begin, vocabulary[begin]), (end, vocabulary[end])],
    )
    return tokenizer


def _add_tokens(tokenizer: Any, settings: Mapping[str, Any]) -> None:
    """Tokens that the settings name, where `tokenizer.json` does not hold them as tokens of their own."""
    from tokenizers import AddedToken

    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    decoder = settings.get("added_tokens_decoder") or {}
    stated = [decoder[key] for key in sorted(decoder, key=int)]
    named: list[Any] = [settings.get(key) for key in _NAMED_SPECIALS]
    if is_bert(settings):
        named += [token for key, token in _BERT_SPECIALS.items() if key not in settings]
    for key in _EXTRA:
        extra = settings.get(key) or []
        named += list(extra.values()) if isinstance(extra, Mapping) else list(extra)
    for token, is_special in [*((t, None) for t in stated), *((t, True) for t in named)]:
        content = _content(token)
        if not content or content in known:
            continue
        known.add(content)
        special = bool(is_special if is_special is not None else token.get("special", False))
        added = AddedToken(content, special=special, **_flags(token))
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])


def _flags(token: Any) -> dict[str, bool]:
    if not isinstance(token, Mapping):
        return {"normalized": False}
    return {
        key: bool(token[key]) for key in ("lstrip", "rstrip", "normalized", "single_word") if key in token
    }


def _lowered(tokenizer: Any) -> Any:
    """The tokenizer with lower case before everything else, unless it has it."""
    whole = json.loads(tokenizer.to_str())
    present = whole["normalizer"]
    sequence = present is not None and present["type"] == "Sequence"
    parts = present["normalizers"] if sequence else [present] if present is not None else []
    if any(part["type"] == "Lowercase" for part in parts):
        return tokenizer
    whole["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *parts]}
    return _parse(json.dumps(whole), "The lowered tokenizer")


def _content(token: Any) -> str | None:
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _mend(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
