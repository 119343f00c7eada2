"""Models by `hf:` names: what is asked of the hub, what is kept, and one sentence where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest
from encoder_kinds import hidden_packages, own_cache
from plain_bert import write_plain
from sparse_models import write_router, write_symmetric

import lsr
from lsr.encoders.hub import fetch_model
from lsr.errors import EncoderMismatchError, InputError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSR_CACHE_DIR", own_cache(tmp_path))


def snapshot(tmp_path: Path, write=write_symmetric) -> Path:
    """A folder laid out as the hub's cache is: the files are links into `blobs`."""
    home = tmp_path / "models--org--name"
    folder = write(home / "snapshots" / "abc123", make=write_plain, layers=1)
    (home / "blobs").mkdir()
    for number, file in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        blob = home / "blobs" / str(number)
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, file.parent))
    return folder


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """A hub that has one model, and what it was asked for."""
    folder = snapshot(tmp_path)
    calls: list[tuple[str, object]] = []

    def download(name: str, *, revision=None, allow_patterns, ignore_patterns) -> str:
        calls.append((name, revision))
        assert not any(pattern.endswith((".bin", ".py")) for pattern in allow_patterns)
        if name != "org/name":
            raise OSError("Repository\nNot Found. " + "x" * 900)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_a_model_is_fetched_by_name_and_revision(asked) -> None:
    folder = fetch_model("hf:org/name")
    assert folder.is_dir() and fetch_model("hf:org/name@v2") == folder
    assert asked == [("org/name", None), ("org/name", "v2")]


def test_an_index_keeps_the_name(asked, tmp_path: Path) -> None:
    with hidden_packages("torch", "openvino"):
        with lsr.Index.create(tmp_path / "i.lsr", "hf:org/name@v2") as index:
            index.add([{"id": "1", "text": "Vaccines train the immune system."}])
            assert index.settings.encoder_name == "hf:org/name@v2"
        before = len(asked)
        with lsr.Index.open(tmp_path / "i.lsr") as index:
            assert [hit.id for hit in index.search("immune")] == ["1"]
            index.add([{"id": "2", "text": "The heart."}])
        assert asked[before:] == [("org/name", "v2")] * 2


def test_a_router_needs_no_hub_to_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(tmp_path, write_router)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **more: str(folder))
    with lsr.Index.create(tmp_path / "i.lsr", "hf:org/name") as index:
        index.add([{"id": "1", "text": "Vaccines train the immune system."}])

    def offline(name: str, **more: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with lsr.Index.open(tmp_path / "i.lsr") as index:
        assert [hit.id for hit in index.search("immune")] == ["1"]


def test_no_such_model_is_one_sentence(asked, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError) as caught:
        lsr.load_encoder("hf:org/other")
    sentence = str(caught.value)
    assert sentence.startswith("hf:org/other could not be fetched from the hub (Repository Not Found. x")
    assert "\n" not in sentence and len(sentence) < 400 and caught.value.exit_code == 2
    with lsr.Index.create(tmp_path / "i.lsr", "hf:org/name") as index:
        index.add([{"id": "1", "text": "Vaccines"}])

    def offline(name: str, **more: object) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with (
        lsr.Index.open(tmp_path / "i.lsr") as index,
        pytest.raises(EncoderMismatchError, match=r"hf:org/name, which cannot be loaded .*no network"),
    ):
        index.search("vaccines")
