"""Which backend a folder gets, by what is installed and what the machine has, and what is imported for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoder_kinds import hidden_packages, own_cache
from plain_bert import write_plain
from sparse_models import bert_vocabulary, write_router, write_symmetric

import lsr
from lsr.encoders import sparse_loading
from lsr.errors import InputError, MissingExtraError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", own_cache(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_symmetric(tmp_path / "model", make=write_plain, layers=1)


def change(folder: Path, **config: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **config}), encoding="utf-8")
    return folder


def machine(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool = False, products: bool = True) -> None:
    monkeypatch.setattr(sparse_loading, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(sparse_loading, "has_8_bit_products", lambda: products)


@pytest.mark.parametrize(
    ("precision", "products", "wanted"),
    [("auto", True, "onnx"), ("fast", True, "onnx int8"), ("fast", False, "onnx int7")],
)
def test_onnx_where_nothing_else_is_installed(monkeypatch, folder, precision, products, wanted) -> None:
    machine(monkeypatch, bfloat16=True, products=products)
    with hidden_packages("openvino", "torch"):
        encoder = lsr.load_encoder(folder, precision=precision)
        assert encoder.backend == wanted and encoder.encode_documents(["the heart"]).nnz > 0


@pytest.mark.parametrize(
    ("precision", "bfloat16", "wanted"),
    [("auto", True, "openvino"), ("fast", True, "openvino bf16"), ("fast", False, "onnx int8")],
)
def test_openvino_where_it_is_the_fastest(monkeypatch, folder, precision, bfloat16, wanted) -> None:
    pytest.importorskip("openvino")
    machine(monkeypatch, bfloat16=bfloat16)
    for device in ("auto", "cpu"):
        assert lsr.load_encoder(folder, device=device, precision=precision).backend == wanted


def test_fast_is_near_and_auto_is_the_default(monkeypatch, folder) -> None:
    machine(monkeypatch)
    with hidden_packages("openvino", "torch"):
        plain = lsr.load_encoder(folder).encode_documents(["the heart of the city"]).toarray()[0]
        fast = lsr.load_encoder(folder, precision="fast").encode_documents(["the heart of the city"])
    cosine = fast.toarray()[0] @ plain / np.linalg.norm(fast.toarray()) / np.linalg.norm(plain)
    assert 0.99 < cosine < 1 - 1e-9


def test_other_families_need_torch(folder) -> None:
    change(folder, hidden_act="silu")
    for missing in ("torch", "transformers"):
        with hidden_packages(missing, "openvino"), pytest.raises(MissingExtraError, match=r"\[torch\]") as e:
            lsr.load_encoder(folder)
        assert "'bert'" in str(e.value) and e.value.exit_code == 2


def test_a_gpu_needs_torch(folder, tmp_path) -> None:
    with hidden_packages("torch"), pytest.raises(MissingExtraError, match=r"GPU.*\[torch\]"):
        lsr.load_encoder(folder, device="cuda")
    (tmp_path / "decoder").mkdir()
    (tmp_path / "decoder" / "lsr_decoder.json").write_text("{}", encoding="utf-8")
    with hidden_packages("torch"), pytest.raises(MissingExtraError, match=r"\[torch\]"):
        lsr.load_encoder(tmp_path / "decoder")


def test_a_gpu_without_torch_is_left_alone(monkeypatch, folder) -> None:
    monkeypatch.setattr(sparse_loading, "cuda_devices", lambda: 1)
    with hidden_packages("torch", "openvino"):
        assert lsr.load_encoder(folder).backend == "onnx"


@pytest.mark.torch
def test_a_torch_without_cuda_is_passed_over_or_refused(monkeypatch, folder) -> None:
    import torch

    monkeypatch.setattr(sparse_loading, "cuda_devices", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with hidden_packages("openvino"):
        assert lsr.load_encoder(folder).backend == "onnx"
        with pytest.raises(InputError, match="no CUDA device"):
            lsr.load_encoder(folder, device="cuda")


@pytest.mark.torch
def test_other_families_run_on_torch(folder) -> None:
    assert lsr.load_encoder(change(folder, hidden_act="silu")).backend == "torch"


def test_both_sides_of_a_symmetric_folder_share_one_model(folder) -> None:
    encoder = lsr.load_encoder(folder)
    assert encoder.queries.backend is encoder.documents.backend


def test_a_side_of_its_own_has_a_graph_of_its_own(tmp_path: Path) -> None:
    """Two models whose folders have the same name within a Router."""
    path = write_router(tmp_path / "router", make=write_plain, layers=1)
    config = json.loads((path / "router_config.json").read_text(encoding="utf-8"))
    (pooling,) = (name for name in config["types"] if "Pooling" in name)
    (model,) = (name for name in config["types"] if name.startswith("document_0"))
    for side, seed in (("document", 0), ("query", 1)):
        write_plain(path / side / "model", layers=1, seed=seed)
    config["types"] |= {f"{side}/model": config["types"][model] for side in ("document", "query")}
    config["structure"] = {side: [f"{side}/model", pooling] for side in ("query", "document")}
    (path / "router_config.json").write_text(json.dumps(config), encoding="utf-8")
    for side in ("document", "query"):
        settings = (path / model / "sentence_bert_config.json").read_bytes()
        (path / side / "model" / "sentence_bert_config.json").write_bytes(settings)
    encoder = lsr.load_encoder(path)
    text = ["the heart of the city"]
    documents, queries = encoder.encode_documents(text), encoder.encode_queries(text)
    for side, found in (("document", documents), ("query", queries)):
        alone = lsr.load_encoder(path / side / "model").encode_documents(text)
        np.testing.assert_allclose(found.toarray(), alone.toarray(), atol=1e-5)
    assert (documents != queries).nnz > 0


def test_tokens_that_the_model_has_not_are_one_sentence(tmp_path: Path) -> None:
    """The tokenizer's last pieces have no row in the model."""
    encoder = lsr.load_encoder(write_plain(tmp_path / "model", layers=1, extra_columns=-30))
    assert encoder.dimension == len(encoder.vocabulary) == len(bert_vocabulary()) - 30
    assert encoder.encode_documents(["the heart"]).shape == (1, encoder.dimension)
    assert max(encoder.columns_of("the a1b2c3 xyz")) < encoder.dimension
    for encode in (encoder.encode_documents, encoder.encode_queries):
        with pytest.raises(InputError, match=f"##3.*{encoder.dimension} tokens"):
            encode(["the heart", "the a1b2c3"])


PROBE = """
import sys
import lsr
encoder = lsr.load_encoder(sys.argv[1], device=sys.argv[2])
assert encoder.encode_documents(["the heart", ""]).nnz and encoder.encode_queries(["heart"]).nnz
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "transformers", "onnxruntime"}))
"""


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_convertible_folder_never_imports_torch(monkeypatch, folder, tmp_path, device: str) -> None:
    from lsr.encoders.processor import cuda_devices

    if device == "auto" and cuda_devices():
        pytest.skip("this machine has a GPU, which device='auto' takes through torch")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder), device],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert not {"torch", "transformers"} & set(done.stdout.split())


SEARCH = """
import sys
from lsr.cli import cli
from lsr.cli.failures import run
code = run(cli, ["search", sys.argv[1], "the immune system", "--json"])
heavy = {"torch", "transformers", "onnxruntime", "onnx", "openvino", "scipy.sparse", "scipy.linalg"}
print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_a_search_by_a_table_imports_no_model(tmp_path: Path) -> None:
    path = write_router(tmp_path / "model", make=write_plain, layers=1)
    with lsr.Index.create(tmp_path / "i.lsr", str(path)) as index:
        index.add([{"id": "1", "text": "Vaccines train the immune system."}])
        assert index.search("immune")  # with this the kernels are compiled, which takes SciPy
    (path / "modules.json").unlink()  # nothing of the model's folder is needed any more
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path / "i.lsr")],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert [hit["id"] for hit in json.loads(done.stdout)] == ["1"]
    assert done.stderr.strip() == ""
