"""The container and the bytes behind it."""

from __future__ import annotations

import gc
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from lsr.errors import IndexCorruptError, IndexVersionError
from lsr.index import format, mapping
from lsr.index.durable import write_file
from lsr.index.format import FileRecord, check_offsets, container_chunks, read_container
from lsr.index.mapping import file_bytes

NAME = "segment-0123456789abcdef.lsr"
SECTIONS = [
    ("numbers", np.arange(5, dtype=np.int64)),
    ("nothing", np.empty(0, np.float32)),
    ("bytes", np.frombuffer(b"odd length", np.uint8)),
    ("weights", np.array([[1.5, 2.5]], np.float32)),
]


def build(name: str = NAME, kind: str = "segment") -> tuple[np.ndarray, FileRecord]:
    data = b"".join(container_chunks(kind, name, {"rows": 3}, SECTIONS))
    return np.frombuffer(data, np.uint8), FileRecord(name, len(data), zlib.crc32(data))


def test_what_was_written_is_read() -> None:
    data, record = build()
    container = read_container(data, "segment", record, whole=True)
    assert container.metadata == {"rows": 3}
    for name, array in SECTIONS:
        read = container.sections[name]
        assert read.dtype == array.dtype
        assert read.tolist() == array.ravel().tolist()
        assert container.checksums[name] == zlib.crc32(array.tobytes())
        assert not read.flags.writeable
        assert (read.ctypes.data - data.ctypes.data) % 64 == 0


@pytest.mark.parametrize("whole", [True, False])
def test_every_flipped_bit_is_noticed_or_lies_in_a_section(whole: bool) -> None:
    data, record = build()
    inside = np.zeros(len(data), bool)
    for array in read_container(data, "segment", record, whole=True).sections.values():
        start = array.ctypes.data - data.ctypes.data
        inside[start : start + array.nbytes + -array.nbytes % 64] = True
    for place in range(len(data)):
        flipped = data.copy()
        flipped[place] ^= 1 << (place % 8)
        try:
            read_container(flipped, "segment", record, whole=whole)
        except IndexCorruptError as error:
            assert NAME in str(error) and error.file == NAME
        else:
            assert not whole and inside[place]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127, 128, 200])
def test_a_cut_file_is_named(length: int) -> None:
    data, record = build()
    with pytest.raises(IndexCorruptError, match=NAME):
        read_container(data[:length], "segment", record, whole=False)
    shorter = FileRecord(NAME, length, zlib.crc32(data[:length].tobytes()))
    with pytest.raises(IndexCorruptError, match=NAME):
        read_container(data[:length], "segment", shorter, whole=True)


def test_another_file_or_kind_under_the_name_is_noticed() -> None:
    data, record = build("segment-ffffffffffffffff.lsr")
    with pytest.raises(IndexCorruptError, match="another file"):
        read_container(data, "segment", FileRecord(NAME, record.size, record.crc32), whole=True)
    data, record = build(kind="queries")
    with pytest.raises(IndexCorruptError, match="another kind"):
        read_container(data, "segment", record, whole=True)


def test_a_newer_format_is_said(monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(format, "FORMAT_VERSION", 7)
        data, record = build()
    with pytest.raises(IndexVersionError, match=rf"{NAME} is of index format 7.*lsr-search"):
        read_container(data, "segment", record, whole=True)


@pytest.mark.parametrize(
    "offsets, end", [([], 0), ([1, 2], 2), ([0, 1], 2), ([0, 3, 2, 4], 4), ([0, 5, 4], 4), ([0, -1, 1], 1)]
)
def test_offsets_that_do_not_run_are_noticed(offsets, end) -> None:
    with pytest.raises(IndexCorruptError, match="its places"):
        check_offsets(np.array(offsets, np.int64), end, NAME, "places")


def test_large_files_are_mapped_and_small_ones_read_both_without_descriptors(tmp_path: Path) -> None:
    small, large = b"x" * 1000, os.urandom(mapping.READ_LIMIT + 1)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(large)
    (tmp_path / "empty").write_bytes(b"")
    before = descriptors()
    arrays = [file_bytes(tmp_path, name) for name in ("small", "large", "empty")]
    assert descriptors() == before
    (tmp_path / "large").unlink()
    assert [array.tobytes() for array in arrays] == [small, large, b""]
    assert not any(array.flags.writeable for array in arrays)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_mapping_ends_with_its_last_array(tmp_path: Path) -> None:
    path = tmp_path / "mapped-for-a-while"
    path.write_bytes(os.urandom(mapping.READ_LIMIT + 1))
    part = file_bytes(tmp_path, path.name)[5:1000].view(np.uint8)
    gc.collect()
    assert path.name in Path("/proc/self/maps").read_text(encoding="utf-8")
    del part
    gc.collect()
    assert path.name not in Path("/proc/self/maps").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
def test_links_pipes_and_folders_are_no_files_of_an_index(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(IndexCorruptError, match=name):
            file_bytes(tmp_path, name)
    with pytest.raises(FileNotFoundError):
        file_bytes(tmp_path, "nothing")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    record = write_file(tmp_path, NAME, [b"abc", memoryview(b"def")])
    assert record == FileRecord(NAME, 6, zlib.crc32(b"abcdef"))

    def broken():
        yield b"abc"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(tmp_path, "segment-ffffffffffffffff.lsr", broken())
    assert os.listdir(tmp_path) == [NAME]


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))
