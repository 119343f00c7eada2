"""Tokens: limits and special tokens by hand, and equality with transformers on ten thousand strings."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from sparse_models import LETTERS, TEXTS, bert_vocabulary, write_bert_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lsr.encoders.tokens import NO_LIMIT, Tokeniser, limit_of, tokenizer_settings
from lsr.errors import InputError, InputFileError, UnsupportedError

ALPHABETS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßéèçñøłİıſﬁ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяЁЙѣ",
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωΆΈΐ",
    "han": "東京大学中国人民日本語漢字龍𠀀𪛖",
    "kana": "ひらがなカタカナｶﾀｶﾅ゛",
    "hangul": "한국어가나다각힣ㄱㅏ",
    "arabic": "السلامعليكم٠١٢ﷺ\u064b\u0651",
    "hebrew": "שלוםעולםאבג\u05b0\u05bc",
    "devanagari": "नमस्तेदुनियाक्षत्रज्ञ१२",
    "thai": "สวัสดีชาวโลกกำลังน้ำ",
    "emoji": "😀🎉👩‍👩‍👧🇩🇪🏳️‍🌈❤️\u200d",
    "marks": "e\u0301a\u0308o\u0327n\u0303\u0300\u0335",
    "controls": "\x00\x01\x07\x1f\x7f\x85\u200b\u200e\ufeff\u00ad\ufffd",
    "blanks": " \t\n\r\u00a0\u2003\u3000\u2028",
    "signs": ".,:;!?'\"()-/&%$€£#@*_[]{}<>|\\~^`«»„“…—№™½²",
    "digits": "0123456789٣५Ⅷ①",
}
LITERALS = ("[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "<s>", "</s>", "<mask>", "<pad>", "<unk>",
            "<|endoftext|>", "[mask]", "[MASK].", " [MASK] ", "<mask>a")  # fmt: skip


def strings(count: int = 10_000) -> list[str]:
    """Strings in many scripts, the same in every run."""
    source = random.Random(20_26)
    names = sorted(ALPHABETS)
    made = [
        "",
        " ",
        "\n\n",
        *TEXTS,
        *LITERALS,
        "a" * 5000,
        "漢" * 700,
        "é" * 300,
        "x" * 101,
        "x" * 100,
        "##ing ##",
    ]
    while len(made) < count:
        words = []
        for _ in range(source.randint(1, 12)):
            if source.random() < 0.04:
                words.append(source.choice(LITERALS))
                continue
            alphabet = ALPHABETS[source.choice(names)] if source.random() < 0.6 else ALPHABETS["latin"]
            words.append("".join(source.choice(alphabet) for _ in range(source.randint(1, 9))))
        made.append(source.choice((" ", " ", " ", "", "  ")).join(words))
    return made[:count]


def small(path: Path, *, bos: bool = False) -> Path:
    """A word-level tokenizer made by hand: [CLS] and [SEP] around words split at blanks."""
    words = {token: i for i, token in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e"])}
    words["last"] = 10
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def test_a_long_text_keeps_its_special_tokens_and_says_how_much_was_cut(tmp_path: Path) -> None:
    rows, cut = Tokeniser(small(tmp_path), 4).encode(["a b c d e", "a b", "", "a"])
    assert rows == [[1, 3, 4, 2], [1, 3, 4, 2], [1, 2], [1, 3, 2]]
    assert cut.tolist() == [3, 0, 0, 0] and cut.dtype == np.int32


def test_without_special_tokens_the_limit_counts_all(tmp_path: Path) -> None:
    tokeniser = Tokeniser(small(tmp_path), 4)
    rows, cut = tokeniser.encode(["a b c d e", ""], special=False)
    assert rows == [[3, 4, 5, 6], []] and cut.tolist() == [1, 0]
    assert tokeniser.ids("a b c d e") == [3, 4, 5, 6]
    assert tokeniser.columns_of("c a c a").tolist() == [3, 5]


def test_another_limit_for_one_call(tmp_path: Path) -> None:
    tokeniser = Tokeniser(small(tmp_path), 4)
    assert tokeniser.encode(["a b c d e"], max_length=6)[0] == [[1, 3, 4, 5, 6, 2]]
    assert tokeniser.encode(["a b c d e"])[0] == [[1, 3, 4, 2]]
    with pytest.raises(InputError, match="at least 3"):
        tokeniser.encode(["a"], max_length=2)


def test_a_tokenizer_that_cuts_on_the_left(tmp_path: Path) -> None:
    folder = small(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "left"}), encoding="utf-8")
    tokeniser = Tokeniser(folder, 4)
    assert tokeniser.encode(["a b c d e"])[0] == [[1, 6, 7, 2]]
    assert tokeniser.ids("a b c d e") == [4, 5, 6, 7]
    assert Tokeniser.from_bytes(tokeniser.to_bytes(), max_length=4, side="left").ids("a b c d e") == [
        4,
        5,
        6,
        7,
    ]


def test_vocabulary_is_in_the_order_of_ids_with_its_holes_named(tmp_path: Path) -> None:
    tokeniser = Tokeniser(small(tmp_path), 4)
    assert tokeniser.vocabulary[:4] == ["[UNK]", "[CLS]", "[SEP]", "a"]
    assert tokeniser.vocabulary[8:] == ["[id:8]", "[id:9]", "last"]
    assert tokeniser.id_of("last") == 10 and tokeniser.id_of("nothing") is None


def test_limits_that_the_settings_state(tmp_path: Path) -> None:
    assert limit_of({"model_max_length": 512}) == 512
    assert limit_of({"max_len": 128}) == 128
    assert limit_of({"model_max_length": 1000000000000000019884624838656}) == NO_LIMIT
    assert limit_of({}) == NO_LIMIT


def test_lower_case_comes_before_everything_else(tmp_path: Path) -> None:
    tokeniser = Tokeniser(small(tmp_path), 5, lower_case=True)
    assert tokeniser.encode(["A B"])[0] == [[1, 3, 4, 2]]
    assert Tokeniser(small(tmp_path), 5).encode(["A B"])[0] == [[1, 0, 0, 2]]
    assert Tokeniser.from_bytes(tokeniser.to_bytes(), max_length=5).ids("A B") == [3, 4]


def test_a_lone_surrogate_is_read_as_the_replacement_character(tmp_path: Path) -> None:
    tokeniser = Tokeniser(small(tmp_path), 9)
    assert tokeniser.encode(["a \ud800 b"])[0] == tokeniser.encode(["a \ufffd b"])[0]
    assert tokeniser.ids("a \ud800 b") == tokeniser.ids("a \ufffd b")


def test_a_bert_vocabulary_without_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    tokeniser = Tokeniser(tmp_path, 12)
    names = [tokeniser.vocabulary[i] for i in tokeniser.encode(["Vaccines, [MASK] Ä"])[0][0]]
    assert names == ["[CLS]", "vaccines", ",", "[MASK]", "a", "[SEP]"]
    assert tokeniser.special_ids == {0, 1, 2, 3, 4}


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"tokenizer\.json"):
        Tokeniser(tmp_path, 12)


def test_a_vocabulary_of_another_kind_of_model_is_not_taken_for_a_bert(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "xlnet"}', encoding="utf-8")
    with pytest.raises(InputFileError, match=r"tokenizer\.json"):
        Tokeniser(tmp_path, 12)


def test_damaged_tokenizers_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for content in ("", "{}", "[1", '{"version": "1.0", "model": {"type": "Nothing"}}'):
        (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"tokenizer\.json"):
            Tokeniser(tmp_path, 12)


def test_code_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = small(tmp_path)
    stated = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(stated), encoding="utf-8")
    with pytest.raises(UnsupportedError, match="auto_map"):
        Tokeniser(folder, 12)


# Equality with transformers -----------------------------------------------------------------------


def same_as_transformers(folder: Path, limit: int, texts: list[str]) -> None:
    """Ids with and without special tokens, cut and whole."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    mine = Tokeniser(folder, limit)
    for special in (True, False):
        wanted = theirs(texts, truncation="longest_first", max_length=limit, add_special_tokens=special)[
            "input_ids"
        ]
        whole = theirs(texts, add_special_tokens=special)["input_ids"]
        rows, cut = mine.encode(texts, special=special)
        different = [i for i, row in enumerate(rows) if row != wanted[i]]
        assert not different, (texts[different[0]], rows[different[0]], wanted[different[0]])
        assert cut.tolist() == [len(a) - len(b) for a, b in zip(whole, wanted, strict=True)]
    assert [mine.ids(text) for text in texts[:200]] == rows[:200]
    assert theirs.convert_ids_to_tokens(list(range(len(mine.vocabulary)))) == mine.vocabulary
    assert set(theirs.all_special_ids) <= mine.special_ids
    again = Tokeniser.from_bytes(mine.to_bytes(), max_length=limit, side=mine.side)
    assert again.encode(texts[:500])[0] == mine.encode(texts[:500])[0]


def write_word_pieces(folder: Path, *, cased: bool) -> None:
    """A WordPiece trained on the strings, saved by transformers."""
    from transformers import BertTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(strings(1500), trainer)
    saved = BertTokenizerFast(vocab=tokenizer.get_vocab(), do_lower_case=not cased, model_max_length=32)
    saved.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")


def write_byte_level(folder: Path, **settings: object) -> None:
    """A byte-level BPE as GPT-2, RoBERTa and Qwen have it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(strings(1500), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings).save_pretrained(folder)


def write_metaspace(folder: Path) -> None:
    """A BPE with byte fallback and "▁" for blanks, as Llama and Mistral have it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=specials,
        initial_alphabet=list(LETTERS),
        limit_alphabet=120,
        show_progress=False,
    )
    tokenizer.train_from_iterator(strings(1500), trainer)
    whole = json.loads(tokenizer.to_str())
    whole["added_tokens"] = whole["added_tokens"][
        :3
    ]  # the bytes are pieces of the model, not tokens of their own
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


@pytest.mark.torch
@pytest.mark.parametrize("cased", [False, True])
def test_word_pieces_as_in_transformers(tmp_path: Path, cased: bool) -> None:
    write_word_pieces(tmp_path, cased=cased)
    same_as_transformers(tmp_path, 24, strings())


@pytest.mark.torch
def test_byte_level_bpe_as_in_transformers(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    same_as_transformers(tmp_path, 24, strings())


@pytest.mark.torch
def test_bpe_with_byte_fallback_as_in_transformers(tmp_path: Path) -> None:
    write_metaspace(tmp_path)
    same_as_transformers(tmp_path, 24, strings())


@pytest.mark.torch
def test_settings_beside_the_file_as_in_transformers(tmp_path: Path) -> None:
    """Case and accents that tokenizer_config.json states against tokenizer.json, and the side that is cut."""
    write_word_pieces(tmp_path, cased=False)
    file = tmp_path / "tokenizer_config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    more = {
        "do_lower_case": False,
        "strip_accents": True,
        "truncation_side": "left",
        "tokenize_chinese_chars": False,
    }
    file.write_text(json.dumps({**stated, **more}), encoding="utf-8")
    same_as_transformers(tmp_path, 24, strings(2000))


@pytest.mark.torch
def test_the_file_outdoes_begin_and_end_tokens_in_the_settings_as_in_transformers(tmp_path: Path) -> None:
    write_metaspace(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**stated, "add_bos_token": False, "add_eos_token": True}), encoding="utf-8")
    same_as_transformers(tmp_path, 24, strings(1000))


@pytest.mark.torch
def test_special_tokens_that_only_the_settings_name_as_in_transformers(tmp_path: Path) -> None:
    write_byte_level(tmp_path)
    file = tmp_path / "tokenizer.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] != "<mask>"]
    file.write_text(json.dumps(whole), encoding="utf-8")
    same_as_transformers(tmp_path, 24, [*strings(1000), "a<mask>b", "<mask>"])


@pytest.mark.torch
def test_a_bert_vocabulary_as_in_transformers(tmp_path: Path) -> None:
    write_bert_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    same_as_transformers(tmp_path, 24, strings(2000))


@pytest.mark.torch
@pytest.mark.data
def test_the_tokenizer_of_a_real_model_as_in_transformers() -> None:
    folder = os.environ.get("LSR_SPLADE_TINY")
    if not folder:
        pytest.skip("LSR_SPLADE_TINY names no folder of a real SPLADE model")
    assert limit_of(tokenizer_settings(Path(folder))) == 512
    same_as_transformers(Path(folder), 64, strings())
