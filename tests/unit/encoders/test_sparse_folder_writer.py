"""Writing SparseEncoder folders: copies, tables, refusals, and nothing left behind by a failure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_models import (
    bert_vocabulary,
    random_table,
    write_bare,
    write_bert,
    write_idf,
    write_router,
    write_symmetric,
)

from lsr.encoders.folder_settings import FolderSettings
from lsr.encoders.sparse_folder import ModelSide, SparseFolder, TableSide, read_sparse_folder
from lsr.encoders.sparse_folder_writer import copy_sparse_folder, write_sparse_folder
from lsr.errors import InputError

OWN = {"pruning_ratio": 0.1, "excluded_terms": [3, 7], "max_document_weight": 3.5}
SETTINGS = {"prompts": {"query": "q: ", "document": "d: "}, "max_active_dims": 20, "own": OWN}


def facts(folder: SparseFolder) -> dict[str, Any]:
    """All of a folder but where it lies."""

    def side(side: ModelSide | TableSide) -> dict[str, Any]:
        stated = {f.name: getattr(side, f.name) for f in dataclasses.fields(side) if f.name != "path"}
        if isinstance(side, TableSide):
            stated["weights"] = side.weights.tolist()
        return stated

    kept = {
        f.name: getattr(folder, f.name) for f in dataclasses.fields(folder) if f.name not in ("path", "name")
    }
    return {**kept, "document": side(folder.document), "query": side(folder.query)}


def folders(root: Path) -> dict[str, Path]:
    bare = {"make": write_bare}
    own_limits = {"query_length": 8, "document_length": 40}
    return {
        "plain": write_bare(root / "plain", limit=32),
        "idf": write_idf(root / "idf", activation_function="log1p_relu", limit=30, **bare),
        "symmetric": write_symmetric(root / "symmetric", pool="sum", settings=SETTINGS, **bare),
        "old": write_symmetric(root / "old", names="old", module={"do_lower_case": True}, **bare),
        "limits": write_symmetric(root / "limits", module=own_limits, settings=SETTINGS, **bare),
        "router": write_router(
            root / "router", query_limit=9, activation="log1p_relu", settings=SETTINGS, **bare
        ),
        "router with idf": write_router(root / "router idf", idf=True, **bare),
        "half": write_symmetric(root / "half", module={"model_kwargs": {"dtype": "bfloat16"}}, **bare),
        "without limit": write_symmetric(root / "no limit", limit=10**30, positions=None, **bare),
    }


def test_a_copy_is_read_as_the_original(tmp_path: Path) -> None:
    for name, path in folders(tmp_path).items():
        folder = read_sparse_folder(path)
        copy = copy_sparse_folder(folder, tmp_path / "copies" / name)
        assert facts(copy) == facts(folder), name
        assert copy.name == name and not list((tmp_path / "copies").glob(".*"))
        assert (copy.path / "modules.json").is_file()
        assert facts(copy_sparse_folder(copy, tmp_path / "again" / name)) == facts(folder)


def test_changed_settings_are_written(tmp_path: Path) -> None:
    folder = read_sparse_folder(write_bare(tmp_path / "a"))
    changed = dataclasses.replace(
        folder, max_active_dims=5, query_prompt="q: ", excluded=(2, 9), pruning_ratio=0.5
    )
    copy = copy_sparse_folder(changed, tmp_path / "b")
    assert (copy.max_active_dims, copy.query_prompt, copy.excluded, copy.pruning_ratio) == (
        5,
        "q: ",
        (2, 9),
        0.5,
    )
    assert copy.fingerprint != folder.fingerprint


def test_old_vocabularies_and_shards_are_copied(tmp_path: Path) -> None:
    path = write_idf(tmp_path / "a", make=write_bare)
    (path / "tokenizer.json").unlink()
    (path / "vocab.txt").write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    (path / "tokenizer_config.json").unlink()
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    index = {"weight_map": {"weights": "model-1.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    folder = read_sparse_folder(path)
    assert facts(copy_sparse_folder(folder, tmp_path / "b")) == facts(folder)


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    folder = read_sparse_folder(write_bare(tmp_path / "a"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    for name in ("full", "taken"):
        with pytest.raises(InputError, match="not empty"):
            copy_sparse_folder(folder, tmp_path / name)
    assert (tmp_path / "full" / "file").read_text(encoding="utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    assert copy_sparse_folder(folder, tmp_path / "empty").fingerprint == folder.fingerprint


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = read_sparse_folder(write_bare(tmp_path / "a"))
    wrong = dataclasses.replace(folder, excluded=(10**6,))
    with pytest.raises(InputError, match="1000000"):
        copy_sparse_folder(wrong, tmp_path / "out" / "b")
    assert list((tmp_path / "out").iterdir()) == []


# From a model in memory ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    path = str(write_bert(tmp_path_factory.mktemp("model")))
    return AutoModelForMaskedLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)


@pytest.mark.torch
def test_a_model_in_memory_becomes_a_symmetric_folder(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    settings = FolderSettings(query_prompt="q: ", max_active_dims=30, max_document_weight=2.5)
    folder = write_sparse_folder(
        tmp_path / "a",
        model=loaded[0],
        tokenizer=loaded[1],
        settings=settings,
        activation="log1p_relu",
        max_length=20,
    )
    assert folder.query == folder.document and folder.document.max_length == 20
    assert (folder.document.pool, folder.document.activation) == ("max", "log1p_relu")
    assert (folder.query_prompt, folder.max_active_dims, folder.max_document_weight) == ("q: ", 30, 2.5)
    assert folder.document.dimension == len(bert_vocabulary())
    whole = write_sparse_folder(tmp_path / "b", model=loaded[0], tokenizer=loaded[1], pool="sum")
    assert whole.document.max_length == 64 and whole.document.pool == "sum"


@pytest.mark.torch
def test_a_model_in_memory_with_a_table_becomes_a_router(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    table = np.array(random_table(), np.float32)
    folder = write_sparse_folder(
        tmp_path / "a", model=loaded[0], tokenizer=loaded[1], query_table=table, max_length=12
    )
    assert isinstance(folder.query, TableSide)
    np.testing.assert_array_equal(folder.query.weights, table)
    assert (folder.query.max_length, folder.document.max_length) == (12, 12)


@pytest.mark.torch
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    size = len(bert_vocabulary())
    for table in (np.ones(size + 1), np.ones((1, size)), np.full(size, np.nan)):
        with pytest.raises(InputError, match="query_table"):
            write_sparse_folder(tmp_path / "a", model=loaded[0], tokenizer=loaded[1], query_table=table)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
def test_a_tokenizer_without_its_file_leaves_nothing_behind(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    from transformers import CanineTokenizer

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        write_sparse_folder(tmp_path / "a", model=loaded[0], tokenizer=CanineTokenizer())
    assert list(tmp_path.iterdir()) == []
