"""Reading SparseEncoder folders: every form, every setting, and what is refused by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import (
    bert_vocabulary,
    random_table,
    write_bare,
    write_bert_tokenizer,
    write_idf,
    write_router,
    write_settings,
    write_symmetric,
    write_tensors,
)

from lsr.encoders.sparse_folder import ModelSide, TableSide, is_sparse_folder, read_sparse_folder
from lsr.encoders.tokens import NO_LIMIT
from lsr.errors import InputError, InputFileError, LsrError, UnsupportedError


def symmetric(path: Path, **options: Any) -> Path:
    return write_symmetric(path, make=write_bare, **options)


def router(path: Path, **options: Any) -> Path:
    return write_router(path, make=write_bare, **options)


def change(file: Path, **values: Any) -> None:
    """Set keys of a JSON file; a value of None removes its key."""
    stated = {**json.loads(file.read_text(encoding="utf-8")), **values}
    file.write_text(json.dumps({k: v for k, v in stated.items() if v is not None}), encoding="utf-8")


def limit(path: Path) -> int:
    return read_sparse_folder(path).document.max_length


# Forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["old", "new"])
def test_a_symmetric_folder_with_names_of_either_age(tmp_path: Path, names: str) -> None:
    path = symmetric(tmp_path / "model", names=names, pool="sum", activation="log1p_relu")
    folder = read_sparse_folder(path)
    assert folder.name == "model" and folder.path == path
    assert folder.query is folder.document or folder.query == folder.document
    assert (folder.document.pool, folder.document.activation) == ("sum", "log1p_relu")
    assert folder.document.path == path and folder.document.dimension == len(bert_vocabulary())
    assert folder.document.max_length == 64 and folder.document.dtype == "float32"


@pytest.mark.parametrize("names", ["old", "new"])
@pytest.mark.parametrize("idf", [False, True])
def test_a_router_with_a_table(tmp_path: Path, names: str, idf: bool) -> None:
    folder = read_sparse_folder(router(tmp_path, names=names, idf=idf, query_limit=9))
    assert isinstance(folder.query, TableSide)
    np.testing.assert_array_equal(folder.query.weights, np.array(random_table(), np.float32))
    assert folder.query.max_length == 9 and folder.document.max_length == 64
    assert folder.query.path.name == "query_0_SparseStaticEmbedding"
    assert folder.document.path.name.startswith("document_0_")


def test_a_router_with_another_model_for_queries(tmp_path: Path) -> None:
    router(tmp_path, names="old")
    write_bare(tmp_path / "query_0_MLMTransformer", limit=16)
    file = tmp_path / "router_config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    kind = stated["types"]["document_0_MLMTransformer"]
    stated["types"]["query_0_MLMTransformer"] = kind
    stated["structure"]["query"] = ["query_0_MLMTransformer", "document_1_SpladePooling"]
    file.write_text(json.dumps(stated), encoding="utf-8")
    folder = read_sparse_folder(tmp_path)
    assert isinstance(folder.query, ModelSide)
    assert folder.query.path.name == "query_0_MLMTransformer" and folder.query.max_length == 16


def test_a_router_whose_model_lies_in_the_folder_itself(tmp_path: Path) -> None:
    router(tmp_path, names="old")
    for file in (tmp_path / "document_0_MLMTransformer").iterdir():
        shutil.move(file, tmp_path / file.name)
    file = tmp_path / "router_config.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace('"document_0_MLMTransformer"', '""'), encoding="utf-8"
    )
    assert read_sparse_folder(tmp_path).document.path == tmp_path


def test_the_routes_that_a_router_maps(tmp_path: Path) -> None:
    router(tmp_path, parameters={"route_mappings": {"('query', None)": "lookup", "(None, 'text')": "whole"}})
    file = tmp_path / "router_config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    ways = stated["structure"]
    stated["structure"] = {"whole": ways["document"], "lookup": ways["query"]}
    file.write_text(json.dumps(stated), encoding="utf-8")
    assert isinstance(read_sparse_folder(tmp_path).query, TableSide)
    change(file, parameters={})
    with pytest.raises(UnsupportedError, match="no route for a document"):
        read_sparse_folder(tmp_path)


def test_a_router_under_its_first_name(tmp_path: Path) -> None:
    router(tmp_path, names="old")
    (tmp_path / "router_config.json").rename(tmp_path / "config.json")
    file = tmp_path / "modules.json"
    stated = file.read_text(encoding="utf-8").replace("models.Router", "models.Asym")
    file.write_text(stated, encoding="utf-8")
    assert isinstance(read_sparse_folder(tmp_path).query, TableSide)


def test_a_plain_folder_of_a_masked_language_model(tmp_path: Path) -> None:
    folder = read_sparse_folder(write_bare(tmp_path))
    assert folder.query is folder.document
    assert (folder.document.pool, folder.document.activation) == ("max", "relu")
    assert (folder.query_prompt, folder.document_prompt, folder.max_active_dims) == ("", "", None)


def test_a_plain_folder_with_an_idf_table(tmp_path: Path) -> None:
    weights = {"vaccine": 7.5, "the": 0.25, "not in the vocabulary": 3.0}
    folder = read_sparse_folder(write_idf(tmp_path, make=write_bare, weights=weights, limit=32))
    assert isinstance(folder.query, TableSide) and folder.query.max_length == 32
    table = dict(zip(bert_vocabulary(), folder.query.weights.tolist(), strict=True))
    assert {token: weight for token, weight in table.items() if weight} == {
        "vaccine": 7.5,
        "the": 0.25,
        "[UNK]": 3.0,  # as sentence-transformers looks it up
    }


def test_a_plain_folder_that_states_its_activation(tmp_path: Path) -> None:
    for i, stated in enumerate(({"activation_function": "log1p_relu"}, {"use_l0": True})):
        assert read_sparse_folder(write_bare(tmp_path / str(i), **stated)).document.activation == "log1p_relu"
    assert (
        read_sparse_folder(write_bare(tmp_path / "x", activation_function="gelu")).document.activation
        == "relu"
    )


def test_what_counts_as_a_sparse_folder(tmp_path: Path) -> None:
    assert is_sparse_folder(write_bare(tmp_path / "a"))
    assert is_sparse_folder(router(tmp_path / "b"))
    assert not is_sparse_folder(write_bare(tmp_path / "c", architectures=["MistralForCausalLM"]))
    (tmp_path / "d").mkdir()
    assert not is_sparse_folder(tmp_path / "d") and not is_sparse_folder(tmp_path / "none")


# Settings -----------------------------------------------------------------------------------------


def test_limits_as_sentence_transformers_finds_them(tmp_path: Path) -> None:
    assert limit(symmetric(tmp_path / "a", module={"max_seq_length": 20})) == 20
    assert limit(symmetric(tmp_path / "b", module={"max_seq_length": None})) == 64
    assert limit(symmetric(tmp_path / "c", limit=32)) == 32
    assert limit(symmetric(tmp_path / "d", limit=512, positions=48)) == 48
    assert limit(symmetric(tmp_path / "e", module={"processor_kwargs": {"model_max_length": 24}})) == 24
    assert limit(symmetric(tmp_path / "f", module={"tokenizer_args": {"model_max_length": 25}})) == 25
    assert limit(symmetric(tmp_path / "g", limit=10**30, positions=None)) == NO_LIMIT
    assert limit(symmetric(tmp_path / "h", module={"processing_kwargs": {"text": {"max_length": 12}}})) == 12


def test_a_limit_beyond_the_positions_is_capped(tmp_path: Path) -> None:
    assert limit(symmetric(tmp_path / "a", module={"max_seq_length": 100})) == 64
    rotary = {"model_type": "modernbert", "global_rope_theta": 160000.0}
    assert limit(symmetric(tmp_path / "b", module={"max_seq_length": 100}, **rotary)) == 100


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path) -> None:
    offset = {
        "model_type": "roberta",
        "architectures": ["RobertaForMaskedLM"],
        "positions": 66,
        "limit": 10**30,
    }
    assert limit(write_bare(tmp_path / "a", pad_token_id=1, **offset)) == 64
    assert limit(write_bare(tmp_path / "b", **offset)) == 64


def test_each_side_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    folder = read_sparse_folder(symmetric(tmp_path, module={"query_length": 8, "document_length": 40}))
    assert (folder.query.max_length, folder.document.max_length) == (8, 40)


def test_prompts_as_sentence_transformers_chooses_them(tmp_path: Path) -> None:
    def prompts(name: str, **stated: Any) -> tuple[str, str]:
        folder = read_sparse_folder(symmetric(tmp_path / name, settings=stated))
        return folder.query_prompt, folder.document_prompt

    assert prompts("a", prompts={"query": "q: ", "document": "d: "}) == ("q: ", "d: ")
    assert prompts("b", prompts={"query": None}) == ("", "")
    # "document" is always among its prompts, empty if need be, so that "passage" is never reached.
    assert prompts("c", prompts={"query": "q: ", "passage": "p: "}, default_prompt_name="passage") == (
        "q: ",
        "",
    )


def test_other_settings(tmp_path: Path) -> None:
    own = {"pruning_ratio": 0.1, "excluded_terms": [7, 3, 3], "max_document_weight": 3.5}
    folder = read_sparse_folder(
        symmetric(
            tmp_path,
            module={
                "do_lower_case": True,
                "model_args": {"torch_dtype": "bfloat16", "attn_implementation": "sdpa"},
            },
            settings={"max_active_dims": 99, "own": own},
        )
    )
    assert folder.max_active_dims == 99 and folder.pruning_ratio == 0.1
    assert folder.excluded == (3, 7) and folder.max_document_weight == 3.5
    assert folder.document.lower_case and folder.document.dtype == "bfloat16"


def test_arithmetic_as_the_folder_asks(tmp_path: Path) -> None:
    assert read_sparse_folder(write_bare(tmp_path / "a", dtype="float16")).document.dtype == "float16"
    assert read_sparse_folder(
        write_bare(tmp_path / "b", dtype=None, torch_dtype="bfloat16")
    ).document.dtype == ("bfloat16")
    assert read_sparse_folder(write_bare(tmp_path / "c", dtype=None)).document.dtype == "float32"
    with pytest.raises(UnsupportedError, match="float8"):
        read_sparse_folder(write_bare(tmp_path / "d", dtype="float8"))


def test_shards(tmp_path: Path) -> None:
    write_bare(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    for i in (1, 2):
        write_tensors(tmp_path / f"model-0000{i}-of-00002.safetensors", {f"w{i}": [1.0]})
    index = {"weight_map": {f"w{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    whole = read_sparse_folder(tmp_path).fingerprint
    write_tensors(tmp_path / "model-00002-of-00002.safetensors", {"w2": [1.5]})
    assert read_sparse_folder(tmp_path).fingerprint != whole
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputFileError, match="00002-of-00002"):
        read_sparse_folder(tmp_path)


def test_a_table_shorter_than_the_model_is_filled_up(tmp_path: Path) -> None:
    size = len(bert_vocabulary())
    folder = read_sparse_folder(router(tmp_path / "a", vocab_size=size + 5))
    assert isinstance(folder.query, TableSide) and folder.query.weights.shape == (size + 5,)
    with pytest.raises(InputError, match="do not belong together"):
        read_sparse_folder(router(tmp_path / "b", vocab_size=size - 5))


# Fingerprint --------------------------------------------------------------------------------------


def test_the_fingerprint_follows_content_and_nothing_else(tmp_path: Path) -> None:
    first = read_sparse_folder(router(tmp_path / "a", names="old")).fingerprint
    assert len(first) == 32 and int(first, 16) >= 0
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere", copy_function=shutil.copyfile)
    (tmp_path / "elsewhere" / "README.md").write_text("another text", encoding="utf-8")
    assert read_sparse_folder(tmp_path / "elsewhere").fingerprint == first
    # The same model with newer names of modules, and with its table as an idf.json.
    assert read_sparse_folder(router(tmp_path / "b", names="new")).fingerprint == first
    assert read_sparse_folder(router(tmp_path / "c", idf=True)).fingerprint == first


CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": lambda p: write_tensors(
        p / "document_0_MLMTransformer/model.safetensors", {"weights": [1.0, 2.0, 3.5]}
    ),
    "table": lambda p: write_tensors(
        p / "query_0_SparseStaticEmbedding/model.safetensors", {"weight": random_table(seed=1)}
    ),
    "config": lambda p: change(p / "document_0_MLMTransformer/config.json", layer_norm_eps=1e-5),
    "pooling": lambda p: change(p / "document_1_SpladePooling/config.json", pooling_strategy="sum"),
    "activation": lambda p: change(
        p / "document_1_SpladePooling/config.json", activation_function="log1p_relu"
    ),
    "limit": lambda p: change(p / "document_0_MLMTransformer/sentence_bert_config.json", max_seq_length=33),
    "lower": lambda p: change(p / "document_0_MLMTransformer/sentence_bert_config.json", do_lower_case=True),
    "query limit": lambda p: change(
        p / "query_0_SparseStaticEmbedding/tokenizer_config.json", model_max_length=5
    ),
    "tokenizer": lambda p: write_bert_tokenizer(p / "query_0_SparseStaticEmbedding", cased=True),
    "case": lambda p: change(p / "query_0_SparseStaticEmbedding/tokenizer_config.json", do_lower_case=False),
    "prompt": lambda p: write_settings(p, prompts={"query": "query: "}),
    "active": lambda p: write_settings(p, max_active_dims=7),
    "pruning": lambda p: write_settings(p, own={"pruning_ratio": 0.2}),
    "excluded": lambda p: write_settings(p, own={"excluded_terms": [5]}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_a_vector_depends_on_changes_the_fingerprint(tmp_path: Path, name: str) -> None:
    router(tmp_path, names="old")
    before = read_sparse_folder(tmp_path).fingerprint
    CHANGES[name](tmp_path)
    assert read_sparse_folder(tmp_path).fingerprint != before


# Refusals -----------------------------------------------------------------------------------------


def refuse(path: Path, kind: type[LsrError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        read_sparse_folder(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 600


@pytest.mark.parametrize(
    "module",
    [
        "sentence_transformers.models.Dense",
        "sentence_transformers.models.Normalize",
        "sentence_transformers.sparse_encoder.models.SparseAutoEncoder",
        "sentence_transformers.sparse_encoder.models.CSRSparsity",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ],
)
def test_modules_that_are_not_known_are_named(tmp_path: Path, module: str) -> None:
    symmetric(tmp_path)
    file = tmp_path / "modules.json"
    listed = json.loads(file.read_text(encoding="utf-8"))
    listed.append({"idx": 2, "name": "2", "path": "2_More", "type": module})
    file.write_text(json.dumps(listed), encoding="utf-8")
    refuse(tmp_path, UnsupportedError, f"module {module.rsplit('.', 1)[1]} ")


def test_modules_with_code_of_their_own(tmp_path: Path) -> None:
    symmetric(tmp_path)
    (tmp_path / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "modeling_x.Mine"}]', encoding="utf-8"
    )
    refuse(tmp_path, UnsupportedError, r"modeling_x\.Mine")


def test_a_transformer_without_a_head(tmp_path: Path) -> None:
    refuse(
        symmetric(tmp_path, module={"transformer_task": "feature-extraction"}),
        UnsupportedError,
        "feature-extraction",
    )


def test_a_folder_without_pooling(tmp_path: Path) -> None:
    symmetric(tmp_path, names="old")
    file = tmp_path / "modules.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8"))[:1]), encoding="utf-8")
    refuse(tmp_path, UnsupportedError, "MLMTransformer")


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "manhattan", "maxsim"])
def test_other_similarities(tmp_path: Path, similarity: str) -> None:
    refuse(symmetric(tmp_path, settings={"similarity_fn_name": similarity}), UnsupportedError, similarity)


def test_other_kinds_of_models(tmp_path: Path) -> None:
    refuse(
        symmetric(tmp_path / "a", settings={"model_type": "SentenceTransformer"}),
        UnsupportedError,
        "Sentence",
    )
    refuse(write_bare(tmp_path / "b", architectures=["BertModel"]), UnsupportedError, "BertModel")


@pytest.mark.parametrize(
    ("module", "word"),
    [
        ({"model_kwargs": {"quantization_config": {}}}, "quantization_config"),
        ({"processor_kwargs": {"truncation_side": "left"}}, "truncation_side"),
        ({"query_expansion": {"strategy": "fixed", "length": 32}}, "query_expansion"),
        ({"processing_kwargs": {"text": {"stride": 3}}}, "stride"),
        ({"tokenizer_name_or_path": "elsewhere"}, "tokenizer_name_or_path"),
        ({"modality_config": {"message": {}}}, "message"),
    ],
)
def test_settings_that_are_not_known_are_named(tmp_path: Path, module: dict[str, Any], word: str) -> None:
    refuse(symmetric(tmp_path, module=module), UnsupportedError, word)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"max_active_dims": 0}, "max_active_dims"),
        ({"prompts": {"query": 3}}, "prompts"),
        ({"default_prompt_name": "none such"}, "default_prompt_name"),
        ({"own": {"pruning_ratio": 1.5}}, "pruning_ratio"),
        ({"own": {"excluded_terms": [-1]}}, "excluded_terms"),
        ({"own": {"excluded_terms": [10**6]}}, "1000000"),
        ({"own": {"max_document_weight": "x"}}, "max_document_weight"),
    ],
)
def test_settings_of_the_wrong_kind(tmp_path: Path, settings: dict[str, Any], word: str) -> None:
    refuse(symmetric(tmp_path, settings=settings), InputError, word)


def test_pickled_weights(tmp_path: Path) -> None:
    write_bare(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refuse(tmp_path, UnsupportedError, r"pytorch_model\.bin.*safetensors")
    (tmp_path / "pytorch_model.bin").unlink()
    refuse(tmp_path, InputFileError, r"model\.safetensors")


def test_code_of_a_model(tmp_path: Path) -> None:
    refuse(write_bare(tmp_path, auto_map={"AutoModel": "x.Y"}), UnsupportedError, "auto_map")


def test_an_adapter_alone(tmp_path: Path) -> None:
    write_bare(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    refuse(tmp_path, UnsupportedError, "merge")


@pytest.mark.parametrize("outside", ["../other", "/etc", "a/../../b", "C:\\x", "x\0y"])
def test_paths_that_leave_the_folder(tmp_path: Path, outside: str) -> None:
    symmetric(tmp_path / "a")
    file = tmp_path / "a" / "modules.json"
    listed = json.loads(file.read_text(encoding="utf-8"))
    listed[1]["path"] = outside
    file.write_text(json.dumps(listed), encoding="utf-8")
    refuse(tmp_path / "a", InputError, "outside")
    router(tmp_path / "b", idf=True)
    change(tmp_path / "b" / "query_0_SparseStaticEmbedding" / "config.json", path=outside + "/idf.json")
    refuse(tmp_path / "b", InputError, "outside")
    write_bare(tmp_path / "c")
    (tmp_path / "c" / "model.safetensors").unlink()
    index = {"weight_map": {"w": outside + "/model.safetensors"}}
    (tmp_path / "c" / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    refuse(tmp_path / "c", InputError, "outside")


def test_links_that_leave_the_folder(tmp_path: Path) -> None:
    write_bare(tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "w.safetensors")
    (tmp_path / "a" / "model.safetensors").symlink_to(tmp_path / "w.safetensors")
    refuse(tmp_path / "a", InputError, "outside")


def test_links_of_the_hugging_face_cache_are_followed(tmp_path: Path) -> None:
    path = write_bare(tmp_path / "models--a--b" / "snapshots" / ("0" * 40))
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for file in list(path.iterdir()):
        file.rename(blobs / file.name)
        file.symlink_to(Path("../../blobs") / file.name)
    assert read_sparse_folder(path).document.max_length == 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        (10**9).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"{x}",
    ],
)
def test_damaged_weights(tmp_path: Path, content: bytes) -> None:
    write_bare(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    refuse(tmp_path, InputError, r"model\.safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
        {"dtype": "F32", "shape": [3], "data_offsets": [8, 20]},
        {"dtype": "PY", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [3]},
        [],
    ],
)
def test_headers_that_do_not_fit_the_file(tmp_path: Path, entry: Any) -> None:
    write_bare(tmp_path)
    head = json.dumps({"w": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(12))
    refuse(tmp_path, InputError, r"model\.safetensors")


@pytest.mark.parametrize(
    "name",
    ["config.json", "modules.json", "config_sentence_transformers.json", "tokenizer_config.json",
     "tokenizer.json", "sentence_bert_config.json", "1_SpladePooling/config.json"],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"3"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    symmetric(tmp_path)
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path, InputError, Path(name).name)


@pytest.mark.parametrize(
    "content", [{}, {"types": {}, "structure": {"query": ["x"], "document": ["x"]}}, {"types": 3}]
)
def test_damaged_routers(tmp_path: Path, content: Any) -> None:
    router(tmp_path)
    (tmp_path / "router_config.json").write_text(json.dumps(content), encoding="utf-8")
    refuse(tmp_path, InputError, "router_config")


def test_missing_files_are_named(tmp_path: Path) -> None:
    refuse(tmp_path / "none", InputFileError, "none")
    symmetric(tmp_path / "a")
    (tmp_path / "a" / "config.json").unlink()
    refuse(tmp_path / "a", InputFileError, r"config\.json")
    symmetric(tmp_path / "b")
    (tmp_path / "b" / "tokenizer.json").unlink()
    refuse(tmp_path / "b", InputFileError, r"tokenizer\.json")
    router(tmp_path / "c")
    (tmp_path / "c" / "router_config.json").unlink()
    refuse(tmp_path / "c", LsrError, "config")
    router(tmp_path / "d", idf=True)
    (tmp_path / "d" / "query_0_SparseStaticEmbedding" / "idf.json").unlink()
    refuse(tmp_path / "d", InputFileError, r"idf\.json")


@pytest.mark.parametrize("weight", ["7", None, True, [1]])
def test_tables_that_are_no_numbers(tmp_path: Path, weight: Any) -> None:
    refuse(write_idf(tmp_path, make=write_bare, weights={"the": weight}), InputError, "the")


def test_tables_that_are_not_finite(tmp_path: Path) -> None:
    table = random_table()
    table[9] = float("nan")
    refuse(router(tmp_path, weights=table), InputError, "finite")


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    router(tmp_path)
    code = (
        "import sys; from pathlib import Path; from lsr.encoders.sparse_folder import read_sparse_folder; "
        f"read_sparse_folder(Path({str(tmp_path)!r})); "
        "heavy = ('torch', 'transformers', 'scipy', 'onnxruntime', 'safetensors'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
