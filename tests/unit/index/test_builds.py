"""Builds that have not ended: beside an index, in a new folder, gone on with, given up."""

from __future__ import annotations

from pathlib import Path

import index_samples as samples
import pytest

from lsr.errors import (
    IndexBuildingError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    LsrError,
)
from lsr.index.check import verify
from lsr.index.store import Store


def begin(folder: Path, *, overwrite: bool = False) -> Store:
    return Store.begin_build(folder, samples.settings(fields={}), query_side=b"built", overwrite=overwrite)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_first_build_is_refused_to_readers_until_it_ends(folder: Path) -> None:
    with begin(folder) as build:
        samples.add(build, "a", "b")
        for attempt in (lambda: Store.open(folder), lambda: begin(folder)):
            with pytest.raises(IndexBuildingError, match=r"--append .*--overwrite"):
                attempt()
        with pytest.raises(IndexExistsError):
            Store.create(folder, samples.settings(), query_side=None)
        assert verify(folder, deep=True).faults == ()
        with build.writing() as writer:
            samples.write(writer, ["c"])
            writer.finish_build()
        assert samples.living(build) == ["a", "b", "c"]
        samples.add(build, "d")
    assert Store.resume_build(folder) is None
    with Store.open(folder) as reader:
        assert (samples.living(reader), reader.query_side()) == (["a", "b", "c", "d"], b"built")


def test_a_build_goes_on_from_its_last_commit(folder: Path) -> None:
    with begin(folder) as build:
        samples.add(build, "a")
        with build.writing() as writer:
            samples.write(writer, ["lost"])
    resumed = Store.resume_build(folder)
    assert resumed is not None and samples.living(resumed) == ["a"]
    assert resumed.query_side() == b"built"
    samples.add(resumed, "b")
    with resumed.writing() as writer:
        writer.finish_build()
    assert samples.read_everything(folder) == ["a", "b"]


def test_an_index_stays_readable_and_writable_beside_a_build(store: Store, folder: Path) -> None:
    samples.add(store, "old")
    with pytest.raises(IndexExistsError, match="--overwrite"):
        begin(folder)
    build = begin(folder, overwrite=True)
    samples.add(build, "new")
    with Store.open(folder) as reader:
        samples.add(store, "older")
        assert reader.refresh() is True
        samples.add(build, "newer")
        assert reader.refresh() is False
        assert samples.living(reader) == ["old", "older"]
        with build.writing() as writer:
            writer.finish_build()
        assert samples.living(reader) == ["old", "older"]
        assert reader.refresh() is True
        assert (samples.living(reader), reader.query_side()) == (["new", "newer"], b"built")
    assert len(names(folder)) == 5
    with pytest.raises(LsrError, match="replaced"):
        samples.add(store, "oldest")


def test_a_build_that_is_begun_again_replaces_the_one_before(store: Store, folder: Path) -> None:
    samples.add(store, "old")
    first = begin(folder, overwrite=True)
    samples.add(first, "a")
    second = begin(folder, overwrite=True)
    samples.add(second, "b")
    with pytest.raises(LsrError, match="given up or replaced"):
        samples.add(first, "c")
    with second.writing() as writer:
        writer.finish_build()
    assert samples.read_everything(folder) == ["b"]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_an_abandoned_first_build_leaves_what_was_there(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*"xyz"[:depth])
    build = begin(folder)
    samples.add(build, "a")
    with build.writing() as writer:
        samples.write(writer, ["b"])
        writer.abandon_build()
    assert names(tmp_path) == []
    with pytest.raises(IndexNotFoundError):
        Store.open(folder)
    with begin(folder) as build:
        samples.add(build, "a")


def test_an_abandoned_build_leaves_strangers_files_in_a_folder_that_it_made(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    build = begin(folder)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with build.writing() as writer:
        writer.abandon_build()
    assert names(folder) == ["notes.txt"]


def test_an_abandoned_build_leaves_the_index_beside_it(store: Store, folder: Path) -> None:
    samples.add(store, "old")
    before = names(folder)
    build = begin(folder, overwrite=True)
    samples.add(build, "new")
    with build.writing() as writer:
        writer.abandon_build()
    assert names(folder) == before
    assert samples.read_everything(folder) == ["old"]
    with store.writing() as writer:
        writer.abandon_build()  # not a pending build: nothing but a rollback
    assert samples.living(store) == ["old"]


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lsr.index.catalog.os.fsync", fail)
        with pytest.raises(LsrError, match="No space left"):
            begin(tmp_path / "a" / "b")
    assert names(tmp_path) == []
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("lsr.index.catalog.os.replace", fail)
        with pytest.raises(LsrError, match="No space left"):
            Store.create(tmp_path / "empty", samples.settings(), query_side=b"q")
    assert names(tmp_path / "empty") == []


def test_one_builder_at_a_time(folder: Path) -> None:
    with begin(folder) as build, build.writing():
        with pytest.raises(IndexLockedError):
            begin(folder, overwrite=True)
        resumed = Store.resume_build(folder)
        assert resumed is not None
        with pytest.raises(IndexLockedError), resumed.writing():
            pass
