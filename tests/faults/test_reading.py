"""Reading where writing is not possible, after a kill within SQLite, and files past the checksum limit."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import index_samples as samples
import numpy as np
import pytest

from lsr.errors import IndexCorruptError, LsrError
from lsr.index import catalog, catalog_access
from lsr.index.check import verify
from lsr.index.format import read_container
from lsr.index.mapping import file_bytes
from lsr.index.quantise import quantise_query
from lsr.index.search import explain_row, search
from lsr.index.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(run: Callable[[], None]) -> int:
    """Run in a forked child; the status that `waitpid` gives."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def open_to_all(tmp_path: Path) -> Iterator[Path]:
    """A folder that any user may reach, as pytest's own are not.

    Whatever is imported or compiled on first use is made ready: the plain user may not reach that either.
    """
    with Store.create(tmp_path / "ready.lsr", samples.settings(), query_side=None) as store:
        samples.add(store, "a")
    samples.read_everything(tmp_path / "ready.lsr")
    verify(tmp_path / "ready.lsr", deep=True)
    place = Path(tempfile.mkdtemp(prefix="lsr-test-"))
    place.chmod(0o755)
    yield place
    for path in (place, *place.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(place)


def freeze(folder: Path) -> None:
    """Take the right to write, of the folder and all in it."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def as_plain_user(run: Callable[[], None]) -> int:
    """Run in a child that, even if the tests run as root, has to obey the rights of files."""

    def lowered() -> None:
        if os.geteuid() == 0:
            os.setgid(65_534)
            os.setuid(65_534)
        run()

    return in_child(lowered)


def test_a_read_only_folder_opens_and_is_not_written(open_to_all: Path) -> None:
    folder = open_to_all / "i.lsr"
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a", "b")
        samples.remove(store, "a")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    freeze(folder)

    def read() -> None:
        assert samples.read_everything(folder) == ["b"]
        assert verify(folder, deep=True).faults == ()
        with Store.open(folder) as store:
            assert store.refresh() is False
            with pytest.raises(LsrError, match="cannot be written"):
                samples.add(store, "c")

    assert as_plain_user(read) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def die_within_sqlite(folder: Path) -> None:
    """Be killed when a part of a transaction is in the catalog and the journal that undoes it beside it."""
    connection = catalog_access.connect(folder / "catalog.sqlite", "rw")
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE root SET generation = 99, current = NULL")
    connection.execute("DELETE FROM segment")
    for number in range(500):
        name = f"segment-{number:016x}.lsr"
        connection.execute("INSERT INTO segment VALUES (7, ?, ?, 1, 1, ?, 1)", (number, name, bytes(900)))
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_journal(folder: Path) -> None:
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a", "b")
        samples.add(store, "c")
    assert in_child(lambda: die_within_sqlite(folder)) == signal.SIGKILL
    assert (folder / "catalog.sqlite-journal").stat().st_size > 0


@pytest.mark.parametrize("first", ["read", "verify", "write", "build"])
def test_a_journal_is_played_back_by_whoever_comes_first(folder: Path, first: str) -> None:
    leave_a_journal(folder)
    if first == "read":
        assert samples.read_everything(folder) == ["a", "b", "c"]
    elif first == "verify":
        assert verify(folder, deep=True).faults == ()
    elif first == "write":
        with Store.open(folder) as store:
            samples.add(store, "d")
    else:
        with Store.begin_build(folder, samples.settings(), query_side=None, overwrite=True) as build:
            assert samples.living(build) == []
    expected = ["a", "b", "c", "d"] if first == "write" else ["a", "b", "c"]
    assert samples.read_everything(folder) == expected
    assert not (folder / "catalog.sqlite-journal").exists()


def test_a_journal_in_a_read_only_folder_is_played_back_in_a_copy(open_to_all: Path) -> None:
    folder = open_to_all / "i.lsr"
    leave_a_journal(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    freeze(folder)
    assert as_plain_user(lambda: samples_are(folder, ["a", "b", "c"])) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def samples_are(folder: Path, expected: list[str]) -> None:
    assert samples.read_everything(folder) == expected
    assert verify(folder, deep=False).faults == ()


def test_a_catalog_without_permission_is_named(open_to_all: Path) -> None:
    folder = open_to_all / "i.lsr"
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a")
    (folder / "catalog.sqlite").chmod(0)

    def read() -> None:
        with pytest.raises(LsrError, match=r"catalog\.sqlite.*cannot be read"):
            Store.open(folder)

    assert as_plain_user(read) == 0


def test_reading_waits_for_a_transaction_and_names_a_catalog_that_stays_locked(
    folder: Path, monkeypatch
) -> None:
    monkeypatch.setattr(catalog_access, "BUSY_SECONDS", 0.05)
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a")
        blocker = catalog_access.connect(folder / "catalog.sqlite", "rw")
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LsrError, match=r"catalog\.sqlite.*locked"):
            Store.open(folder)
        assert samples.living(store) == ["a"]
        with pytest.raises(LsrError, match=r"catalog\.sqlite.*locked"):
            samples.add(store, "b")
        blocker.close()
        samples.add(store, "c")
    assert samples.read_everything(folder) == ["a", "c"]
    assert len(list(folder.iterdir())) == 5


# Beyond 64 MB the checksum of all bytes is not compared when a file is opened: whatever its sections hold,
# reading them ends in an answer or in the sentence.


@pytest.fixture(params=[(2047, 16), (3, 2)], ids=["rows", "lists"])
def unchecked(request, folder: Path, monkeypatch) -> Path:
    monkeypatch.setattr("lsr.index.layout._MOST_DENSE", request.param[0])
    monkeypatch.setattr("lsr.index.layout._DENSE_SHARE", request.param[1])
    monkeypatch.setattr("lsr.index.segment_reader.CHECKSUM_LIMIT", 0)
    monkeypatch.setattr("lsr.index.store.CHECKSUM_LIMIT", 0)
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, *[f"d{i}" for i in range(30)])
        samples.remove(store, "d3")
    return folder


def use_all(folder: Path) -> None:
    """Every way of reading, without looking at what comes out."""
    with Store.open(folder) as store:
        snapshot = store.snapshot
        columns = np.arange(samples.DIMENSION, dtype=np.int32)
        query = quantise_query(columns, np.ones(len(columns)), "u8")
        search(snapshot, query, 50)
        snapshot.document_frequencies(columns)
        snapshot.find([f"d{i}" for i in range(35)])
        segment = snapshot.segments[0]
        for row in range(segment.rows):
            explain_row(snapshot, query, 0, row)
            snapshot.surfaces(0, row)
            snapshot.stored(0, row)
            snapshot.content_hash(0, row)
            for column in segment.fields.values():
                column.value(row)
        for row in range(segment.rows):
            snapshot.id(0, row)


@pytest.mark.parametrize("value", [0x00, 0x7F, 0x80, 0xFF])
def test_whatever_an_unchecked_segment_holds_nothing_crashes(unchecked: Path, value: int) -> None:
    with Store.open(unchecked) as store:
        record = store.snapshot.segments[0].record
    path = unchecked / record.name
    whole = path.read_bytes()
    container = read_container(file_bytes(unchecked, record.name), "segment", record, whole=True)
    start = container.sections["terms"].ctypes.data
    for name, array in container.sections.items():
        begin = 64 + array.ctypes.data - start
        for place in sorted({array.nbytes * i // 12 for i in range(12)} | {array.nbytes - 1}):
            if array.nbytes == 0:
                continue
            harmed = bytearray(whole)
            harmed[begin + place] = value if harmed[begin + place] != value else value ^ 0x55
            path.write_bytes(harmed)
            try:
                use_all(unchecked)
            except IndexCorruptError as error:
                assert error.file == record.name and record.name in str(error), name
            assert verify(unchecked, deep=False).error().file == record.name
    path.write_bytes(whole)
    use_all(unchecked)


def test_every_byte_of_a_catalog_flipped(folder: Path) -> None:
    """Right answers or the sentence; also where a flip makes SQLite believe in another journal mode."""
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a", "b")
        samples.remove(store, "a")
    path = folder / "catalog.sqlite"
    whole = path.read_bytes()
    used = [place for place in range(len(whole)) if place < 108 or whole[place]]
    for place in used:
        harmed = bytearray(whole)
        harmed[place] ^= 1 << (place % 8)
        path.write_bytes(harmed)
        try:
            assert samples.read_everything(folder) == ["b"]
        except LsrError as error:
            assert "catalog.sqlite" in str(error) and len(str(error)) < 600
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(whole)
    assert samples.read_everything(folder) == ["b"]


def test_a_forged_catalog_names_no_file_outside(folder: Path, tmp_path: Path) -> None:
    """Right checksums over a name that leaves the folder."""
    (tmp_path / "secret.lsr").write_bytes(b"secret")
    with Store.create(folder, samples.settings(), query_side=b"q") as store:
        samples.add(store, "a")
    from dataclasses import replace

    with catalog.changing(folder) as change:
        build = change.before.current
        row = build.segments[0]
        forged = replace(row, file=replace(row.file, name="../secret.lsr"))
        change.put(replace(build, segments=(forged,)), pending=False)
    with pytest.raises(IndexCorruptError, match="cannot be one of the index"):
        Store.open(folder)
    with sqlite3.connect(folder / "catalog.sqlite") as connection:
        connection.execute("CREATE TRIGGER t AFTER UPDATE ON root BEGIN SELECT 1; END")
    connection.close()
    with pytest.raises(IndexCorruptError, match="tables"):
        Store.open(folder)
