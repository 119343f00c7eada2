"""`verify`: checksums of all files, and structures that do not fit though every checksum is right."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import index_samples as samples
import numpy as np
import pytest

from lsr.errors import IndexCorruptError, IndexNotFoundError, NotAnIndexError
from lsr.index.catalog import changing
from lsr.index.check import verify
from lsr.index.durable import write_file
from lsr.index.format import container_chunks, read_container
from lsr.index.mapping import file_bytes
from lsr.index.snapshot import Moment, Snapshot
from lsr.index.store import SegmentReader, Store


def rewrite(folder: Path, harm: Callable[[dict[str, np.ndarray]], None], number: int = 0) -> str:
    """Write a segment anew with other content and right checksums; its name."""
    with changing(folder) as change:
        build = change.before.current
        row = build.segments[number]
        container = read_container(file_bytes(folder, row.file.name), "segment", row.file, whole=True)
        sections = {name: array.copy() for name, array in container.sections.items()}
        harm(sections)
        chunks = container_chunks("segment", row.file.name, container.metadata, list(sections.items()))
        record = write_file(folder, row.file.name, chunks)
        segments = list(build.segments)
        segments[number] = replace(row, file=record)
        change.put(replace(build, segments=tuple(segments)), pending=False)
    return row.file.name


def set_item(section: str, place: int, value: int) -> Callable[[dict[str, np.ndarray]], None]:
    def harm(sections: dict[str, np.ndarray]) -> None:
        sections[section][place] = value

    return harm


def swap(section: str) -> Callable[[dict[str, np.ndarray]], None]:
    def harm(sections: dict[str, np.ndarray]) -> None:
        array = sections[section]
        first = np.flatnonzero(array != array[0])[0]
        array[[0, first]] = array[[first, 0]]

    return harm


@pytest.fixture
def filled(store: Store, folder: Path) -> Path:
    samples.add(store, *[f"d{i}" for i in range(20)])
    samples.add(store, "e", "f")
    samples.remove(store, "d3")
    store.close()
    return folder


@pytest.mark.parametrize("deep", [True, False])
def test_a_sound_index(filled: Path, deep: bool) -> None:
    (filled / "segment-0123456789abcdef.lsr").write_bytes(b"left by a kill")
    report = verify(filled, deep=deep)
    assert report.faults == ()
    assert (report.files, report.documents) == (4, 21)
    assert report.to_json()["sound"] is True
    named = [path for path in filled.glob("*-*.lsr") if "0123456789abcdef" not in path.name]
    assert report.bytes == sum(path.stat().st_size for path in named)


REFUSED_WHEN_OPENED = [
    ("terms", set_item("terms", 0, -1)),
    ("terms", set_item("terms", -1, samples.DIMENSION)),
    ("term_dense", set_item("term_dense", 1, 0)),
    ("list_offsets", set_item("list_offsets", 1, 10**6)),
    ("list_postings", set_item("list_postings", -1, -3)),
    ("block_pairs", set_item("block_pairs", 0, 1)),
    ("block_postings", set_item("block_postings", -1, 3)),
    ("pair_starts", lambda sections: sections.update(pair_starts=sections["pair_starts"][:-1])),
    ("dense_maxima", lambda sections: sections.update(dense_maxima=sections["dense_maxima"][1:])),
    ("dense_lexical", lambda sections: sections.pop("dense_lexical")),
    ("row_document", set_item("row_document", 2, 7)),
    ("row_document", set_item("row_document", 0, -1)),
    ("stored_block_first", set_item("stored_block_first", -1, 4)),
    ("id_order", set_item("id_order", 0, 20)),
    ("surface_offsets", set_item("surface_offsets", 3, -1)),
    ("a section too few", lambda sections: sections.pop("term_lexical_df")),
    ("another type", lambda sections: sections.update(terms=sections["terms"].astype(np.int64))),
    ("a row too many", lambda sections: sections.update(row_document=np.arange(21, dtype=np.int32))),
]


@pytest.mark.parametrize("harm", REFUSED_WHEN_OPENED, ids=lambda harm: harm[0])
def test_structures_that_a_reader_relies_on_are_checked_when_opened(filled: Path, harm) -> None:
    name = rewrite(filled, harm[1])
    with pytest.raises(IndexCorruptError, match=name) as caught:
        Store.open(filled)
    assert caught.value.file == name
    report = verify(filled, deep=False)
    assert [fault.file for fault in report.faults] == [name]
    assert report.to_json()["sound"] is False


FOUND_BY_VERIFY = [
    ("dense_postings", set_item("dense_postings", 0, 31 << 8 | 7), False),
    ("pair_starts", set_item("pair_starts", 1, 65_535), False),
    ("block_bits", set_item("block_bits", 0, 0), False),
    ("document_sequence", set_item("document_sequence", 0, 99), False),
    ("document_sequence twice", set_item("document_sequence", 0, 21), False),
    ("id_order twice", set_item("id_order", 0, 5), False),
    ("dense_postings", swap("dense_postings"), True),
    ("dense_maxima", swap("dense_maxima"), True),
    ("dense_lexical", set_item("dense_lexical", 0, 0), True),
    ("term_lexical_df", set_item("term_lexical_df", 0, 77), True),
    ("id_bytes", set_item("id_bytes", 0, ord("x")), True),
    ("stored_blocks", set_item("stored_blocks", 9, 0), True),
]


@pytest.mark.parametrize("harm", FOUND_BY_VERIFY, ids=lambda harm: harm[0])
def test_cross_references_are_found_by_verify(filled: Path, harm) -> None:
    _, change, only_deep = harm
    name = rewrite(filled, change)
    faults = verify(filled, deep=True).faults
    assert faults and all(fault.file in (name, "catalog.sqlite") for fault in faults)
    assert bool(verify(filled, deep=False).faults) is not only_deep


def test_one_id_that_lives_twice_is_found(store: Store, folder: Path) -> None:
    samples.add(store, "a", "b")
    samples.add(store, "b")
    assert verify(folder, deep=False).faults == ()
    assert [fault.message.count("lives in two") for fault in verify(folder, deep=True).faults] == [1]


def test_all_damaged_and_missing_files_are_listed(filled: Path) -> None:
    damaged = sorted(filled.glob("segment-*.lsr"))
    data = bytearray(damaged[0].read_bytes())
    data[len(data) // 2] ^= 1
    damaged[0].write_bytes(data)
    damaged[1].unlink()
    report = verify(filled, deep=False)
    assert sorted(fault.file for fault in report.faults) == [path.name for path in damaged]
    assert all(path.name in str(report.error()) for path in damaged)
    with pytest.raises(IndexCorruptError, match="2 files"):
        Store.open(filled, verify=True)


def test_where_no_index_is(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        verify(tmp_path / "nothing", deep=False)
    (tmp_path / "other").write_bytes(b"")
    with pytest.raises(NotAnIndexError):
        verify(tmp_path, deep=False)


def test_a_damaged_or_lost_catalog_is_the_fault(filled: Path) -> None:
    (filled / "catalog.sqlite").write_bytes(b"")
    assert verify(filled, deep=False).error().file == "catalog.sqlite"
    os.unlink(filled / "catalog.sqlite")
    assert verify(filled, deep=False).error().file == "catalog.sqlite"
    for make in (Store.create, Store.begin_build):
        with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite is missing"):
            make(filled, samples.settings(), query_side=None, overwrite=True)
    assert len(list(filled.glob("segment-*.lsr"))) == 2


def test_rows_that_are_passages(filled: Path) -> None:
    """The format has several rows a document from the first day, though nothing writes them yet."""

    def cut(sections: dict[str, np.ndarray]) -> None:
        sections["row_document"] = np.array([0, 0, 1, 2, 2, 2, *range(3, 17)], np.int32)
        sections["row_span"] = np.full(40, -1, np.int32)
        sections["row_span"][:4] = [0, 10, 8, 20]
        for name in ("document_sequence", "id_hash"):
            sections[name] = np.arange(17).astype(sections[name].dtype)
        sections["id_order"] = np.arange(17, dtype=np.int32)
        sections["id_offsets"] = np.arange(18)
        sections["id_bytes"] = np.full(17, ord("x"), np.uint8)
        sections["content_hash"] = np.zeros(17 * 16, np.uint8)
        for name in ("stored_raw_offsets", "stored_block_first"):
            sections[name] = np.array([0, 17]) if "first" in name else np.zeros(18, np.int64)
        sections["stored_block_offsets"] = np.array([0, len(sections["stored_blocks"])])
        for name in list(sections):
            if name.startswith("column_"):
                del sections[name]

    with changing(filled) as change:
        build = change.before.current
    record = build.segments[0].file
    container = read_container(file_bytes(filled, record.name), "segment", record, whole=True)
    sections = {name: array.copy() for name, array in container.sections.items()}
    cut(sections)
    metadata = {**container.metadata, "documents": 17, "fields": {}}
    data = b"".join(container_chunks("segment", record.name, metadata, list(sections.items())))
    record = replace(record, size=len(data), crc32=zlib.crc32(data))
    settings = samples.settings(fields={})
    reader = SegmentReader.over(np.frombuffer(data, np.uint8), record, settings, whole=True)
    assert (reader.rows, reader.documents) == (20, 17)
    assert [reader.span(row) for row in range(3)] == [(0, 10), (8, 20), None]
    assert reader.row_sequence[:6].tolist() == [0, 0, 1, 2, 2, 2]
    dead = np.packbits(np.arange(17) == 2, bitorder="little")
    snapshot = Snapshot(settings, [reader], [dead], Moment(1, 1, 17))
    allowed = np.unpackbits(snapshot.allowed(0), count=20, bitorder="little")
    assert np.flatnonzero(allowed == 0).tolist() == [3, 4, 5]
    assert (len(snapshot), snapshot.documents) == (16, 17)
    with pytest.raises(IndexCorruptError, match="bitmap"):
        Snapshot(
            settings, [reader], [dead | np.uint8(0)][:1] and [np.full(3, 255, np.uint8)], Moment(1, 1, 17)
        )
    with pytest.raises(IndexCorruptError, match="bitmap"):
        Snapshot(settings, [reader], [np.zeros(2, np.uint8)], Moment(1, 1, 17))
