"""Conversion happens once for each content and arithmetic, in the cache and nowhere else."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_kinds import hidden_packages
from plain_bert import write_plain
from sparse_models import write_symmetric

import lsr
from lsr.encoders import onnx_convert
from lsr.encoders.onnx_convert import can_convert, graph_bytes
from lsr.encoders.sparse_folder import read_sparse_folder
from lsr.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_symmetric(tmp_path / "model", make=write_plain, layers=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every conversion that really happens."""
    happened: list[object] = []
    real = onnx_convert.build_graph

    def build(model, options, *, arithmetic):
        happened.append((options, arithmetic))
        return real(model, options, arithmetic=arithmetic)

    monkeypatch.setattr(onnx_convert, "build_graph", build)
    return happened


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_model_is_converted_once_and_nothing_is_written_beside_it(folder, cache, built) -> None:
    before = snapshot(folder)
    with hidden_packages("torch", "openvino"):
        first = lsr.load_encoder(folder).encode_documents(["the heart", ""])
        second = lsr.load_encoder(folder).encode_documents(["the heart", ""])
    assert len(built) == 1 and len(list(cache.iterdir())) == 1
    assert snapshot(folder) == before
    np.testing.assert_array_equal(first.toarray(), second.toarray())


def test_a_copy_under_another_name_is_the_same_model(folder, tmp_path, built) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    plain = write_plain(tmp_path / "plain", layers=1, seed=5)
    shutil.copytree(plain, tmp_path / "renamed")
    with hidden_packages("torch", "openvino"):
        for path in (folder, tmp_path / "copy", plain, tmp_path / "renamed"):
            lsr.load_encoder(path)
    assert len(built) == 2


def test_changed_weights_are_converted_again(folder, built) -> None:
    with hidden_packages("torch", "openvino"):
        first = lsr.load_encoder(folder).encode_documents(["the heart"])
        write_plain(folder, layers=1, seed=1)
        second = lsr.load_encoder(folder).encode_documents(["the heart"])
    assert len(built) == 2 and (first != second).nnz > 0


def test_each_arithmetic_head_and_side_has_a_graph_of_its_own(folder, cache, built) -> None:
    side, fact = read_sparse_folder(folder).document, {"fingerprint": "f"}
    made = [
        graph_bytes(side, **fact),
        graph_bytes(side, fingerprint="g"),
        graph_bytes(side, **fact, arithmetic="int8"),
        graph_bytes(side, **fact, arithmetic="int7"),
        graph_bytes(side, **fact, excluded=(1, 5)),
        graph_bytes(side, **fact, excluded=(1,)),
        graph_bytes(side, **fact, masked=True),
        graph_bytes(side, **fact, role="query"),
        graph_bytes(replace(side, pool="sum"), **fact),
        graph_bytes(replace(side, activation="log1p_relu"), **fact),
    ]
    assert len(built) == len(made) == len(list(cache.iterdir()))
    assert graph_bytes(side, **fact, excluded=(1, 5)) == made[4] and len(built) == len(made)


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "folder"])
def test_a_damaged_cache_is_converted_again(folder, cache, built, harm: str) -> None:
    side = read_sparse_folder(folder).document
    wanted = graph_bytes(side, fingerprint="f")
    (file,) = cache.iterdir()
    data = file.read_bytes()
    if harm == "folder":
        file.unlink()
        file.mkdir()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        file.write_bytes({"cut": data[:-9], "flipped": flipped, "empty": b""}[harm])
    assert graph_bytes(side, fingerprint="f") == wanted and len(built) == 2
    assert [path.name for path in cache.iterdir()] == [file.name]  # no half-written file beside it
    if harm != "folder":
        assert graph_bytes(side, fingerprint="f") == wanted and len(built) == 2


def test_a_cache_that_cannot_be_written_is_a_warning(folder, tmp_path, monkeypatch, caplog, built) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "file"))
    with hidden_packages("torch", "openvino"), caplog.at_level(logging.WARNING, "lsr"):
        for _ in range(2):
            assert lsr.load_encoder(folder).encode_documents(["the heart"]).nnz > 0
    assert len(built) == 2 and "could not be kept" in caplog.text


def test_what_is_too_large_or_unknown_is_not_converted(folder, tmp_path) -> None:
    side = read_sparse_folder(folder).document
    assert can_convert(side)
    assert not can_convert(replace(side, config={**side.config, "hidden_act": "silu"}))
    os.truncate(tmp_path / "model" / "model.safetensors", 2_000_000_000)  # sparse: takes no room
    assert not can_convert(side)


def test_weights_that_the_configuration_does_not_describe_are_named(folder) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 9}), encoding="utf-8")
    with hidden_packages("torch", "openvino"), pytest.raises(InputError, match=r"encoder\.layer\.1\."):
        lsr.load_encoder(folder)
