"""`Store` and `Writer`: commits, snapshots, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import index_samples as samples
import numpy as np
import pytest

from lsr.errors import (
    EncoderMismatchError,
    IndexCorruptError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    IndexVersionError,
    InputError,
    LsrError,
    NotAnIndexError,
)
from lsr.index import catalog, catalog_rows, segment_writer
from lsr.index.format import LOCK_NAME
from lsr.index.store import Store
from lsr.types import SparseBatch


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_documents_come_back_from_several_segments(store: Store, folder: Path) -> None:
    samples.add(store, "a", "b", "c")
    samples.add(store, "d")
    assert samples.read_everything(folder) == ["a", "b", "c", "d"]
    assert len(store.snapshot) == store.snapshot.documents == 4
    assert len(store.snapshot.segments) == 2
    assert store.snapshot.find(["zz"])[0].tolist() == [-1]
    assert store.snapshot.find([])[0].tolist() == []
    assert store.snapshot.find(["\ud800"])[0].tolist() == [-1]
    with Store.open(folder, verify=True) as reader:
        assert reader.settings == store.settings == samples.settings()
        assert reader.query_side() == b"the query side"


def test_a_closed_index_holds_the_catalog_its_files_and_an_empty_lock(store: Store, folder: Path) -> None:
    samples.add(store, "a")
    store.close()
    segments = [name for name in names(folder) if name.startswith("segment-")]
    queries = [name for name in names(folder) if name.startswith("queries-")]
    assert names(folder) == ["catalog.sqlite", *queries, *segments, LOCK_NAME]
    assert (folder / LOCK_NAME).stat().st_size == 0
    with pytest.raises(InputError, match="closed"):
        _ = store.snapshot


def test_terms_words_fields_and_surfaces_come_back(store: Store) -> None:
    ids = [f"d{i}" for i in range(60)]
    samples.add(store, *ids)
    batch = samples.vectors(ids)
    forms = dict(zip(batch.surfaces.rows.tolist(), batch.surfaces.forms, strict=True))
    assert forms
    snapshot = store.snapshot
    fields = snapshot.segments[0].fields
    for row, id in enumerate(ids):
        part = slice(batch.indptr[row], batch.indptr[row + 1])
        columns, _, lexical = snapshot.vector(0, row)
        assert columns.tolist() == batch.indices[part].tolist()
        assert lexical.tolist() == batch.lexical[part].tolist()
        expected = {samples.OPEN_COLUMN: forms[row]} if row in forms else {}
        assert snapshot.surfaces(0, row) == expected
        assert fields["year"].value(row) == samples.document(id).get("year")
        assert fields["tags"].value(row) == samples.document(id).get("tags")
    counted = np.bincount(batch.indices[batch.lexical], minlength=samples.DIMENSION)
    asked = np.array([-5, *range(samples.DIMENSION), 10**6], np.int32)
    assert snapshot.document_frequencies(asked).tolist() == [0, *counted, 0]


def test_vectors_whose_words_are_not_known_count_wholly(store: Store) -> None:
    with store.writing() as writer:
        samples.write(writer, ["a", "b"])
        samples.write(writer, ["c", "d"], lexical=False)
        writer.commit()
    assert len(store.snapshot.segments) == 2
    assert store.snapshot.vector(1, 0)[2] is None
    batch = samples.vectors(["c", "d"])
    columns, counts = np.unique(batch.indices, return_counts=True)
    assert store.snapshot.segments[1].terms.tolist() == columns.tolist()
    assert store.snapshot.segments[1].term_lexical_df.tolist() == counts.tolist()


def test_deleted_documents_are_not_found_and_still_counted(store: Store, folder: Path) -> None:
    samples.add(store, *"abcdefghij")
    before = store.snapshot.document_frequencies(np.arange(samples.DIMENSION))
    samples.remove(store, "b", "j")
    samples.add(store, "b")
    samples.remove(store, "c")
    assert samples.read_everything(folder) == [*"adefghi", "b"]
    assert len(store.snapshot) == 8
    assert store.snapshot.documents == 11
    allowed = np.unpackbits(store.snapshot.allowed(0), count=10, bitorder="little")
    assert allowed.tolist() == [1, 0, 0, 1, 1, 1, 1, 1, 1, 0]
    assert store.snapshot.allowed(1) is None
    after = store.snapshot.document_frequencies(np.arange(samples.DIMENSION))
    assert (after >= before).all()
    with pytest.raises(InputError, match="no document 99"), store.writing() as writer:
        writer.delete([(0, 99)])


def test_additions_and_deletions_are_one_commit(store: Store, folder: Path) -> None:
    samples.add(store, "a", "b")
    with Store.open(folder) as reader:
        with store.writing() as writer:
            writer.delete([(0, 0)])
            samples.write(writer, ["a"])
            assert reader.refresh() is False
            writer.commit()
            assert samples.living(store) == ["b", "a"]
        assert samples.living(reader) == ["a", "b"]
        assert reader.refresh() is True
        assert reader.refresh() is False
        assert samples.living(reader) == ["b", "a"]


@pytest.mark.parametrize("ending", ["exception", "no commit", "rollback"])
def test_what_is_not_committed_is_gone(store: Store, folder: Path, ending: str, monkeypatch) -> None:
    monkeypatch.setattr("lsr.index.writer.DEFAULT_MEMORY", 4)  # every batch becomes a file
    samples.add(store, "a")
    before = names(folder)
    try:
        with store.writing() as writer:
            samples.write(writer, ["b", "c"])
            writer.delete([(0, 0)])
            assert names(folder) != before
            if ending == "exception":
                raise KeyboardInterrupt
            if ending == "rollback":
                writer.rollback()
                assert names(folder) == before
                writer.commit()
    except KeyboardInterrupt:
        pass
    assert names(folder) == before
    assert samples.read_everything(folder) == ["a"]
    samples.add(store, "d")
    assert store.snapshot.segments[1].document_sequence.tolist() == [1]


def test_an_interrupt_behind_the_transaction_keeps_the_commit(
    store: Store, folder: Path, monkeypatch
) -> None:
    def interrupt(build: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "adopt", interrupt)
    with pytest.raises(KeyboardInterrupt):
        samples.add(store, "a")
    assert samples.read_everything(folder) == ["a"]
    assert len(store.snapshot) == 0
    assert store.refresh()
    assert samples.living(store) == ["a"]


def test_little_memory_makes_several_segments_in_one_commit(folder: Path, monkeypatch) -> None:
    with Store.create(folder, samples.settings(memory=4000), query_side=None) as store:
        with store.writing() as writer:
            for start in range(0, 100, 10):
                samples.write(writer, [f"d{i}" for i in range(start, start + 10)])
            assert len(store.snapshot) == 0
            writer.commit()
        assert len(store.snapshot.segments) > 2
        assert samples.living(store) == [f"d{i}" for i in range(100)]
        assert store.query_side() is None


def test_a_segment_has_a_limit_of_rows(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(segment_writer, "MOST_ROWS", 5)
    with store.writing() as writer:
        for start in range(0, 12, 3):
            samples.write(writer, [f"d{i}" for i in range(start, start + 3)])
        writer.commit()
    assert [segment.rows for segment in store.snapshot.segments] == [3, 3, 3, 3]


def test_an_empty_commit_and_empty_batches_are_nothing(store: Store, folder: Path) -> None:
    generation = store.snapshot.moment
    with store.writing() as writer:
        assert samples.write(writer, []) == 0
        writer.commit()
    assert store.snapshot.moment == generation
    samples.add(store, *[f"d{i}" for i in range(200) if "year" not in samples.document(f"d{i}")])
    assert len(store.snapshot.segments[0].terms) == 0
    assert store.snapshot.vector(0, 0)[0].tolist() == []


def test_the_first_addition_fixes_scale_and_dimension(folder: Path) -> None:
    with Store.create(folder, samples.settings(scale=None, dimension=None), query_side=None) as store:
        with store.writing() as writer:
            writer.fix_scale(0.0)
            assert writer.settings.scale is None
            writer.fix_scale(510.0)
            samples.write(writer, ["a", "b"])
            writer.commit()
        assert (store.settings.scale, store.settings.dimension) == (2.0, samples.DIMENSION)
        with store.writing() as writer:
            writer.fix_scale(1.0)
            assert writer.settings.scale == 2.0
    with Store.open(folder) as store:
        assert (store.settings.scale, store.settings.dimension) == (2.0, samples.DIMENSION)


def test_clipped_weights_are_counted(folder: Path) -> None:
    with Store.create(folder, samples.settings(scale=0.001), query_side=None) as store:
        samples.add(store, "a", "b", "c", "d")
        values = samples.vectors(["a", "b", "c", "d"]).values
        assert store.snapshot.clipped == np.count_nonzero(values > 0.2555)


@pytest.mark.parametrize("form, dtype", [("u8", np.uint8), ("u16", np.uint16), ("f32", np.float32)])
def test_vectors_alone(folder: Path, form: str, dtype) -> None:
    plan = samples.settings(kind="vectors", quantize=form, scale=None, fields={})
    with Store.create(folder, plan, query_side=None) as store:
        with store.writing() as writer:
            writer.add_rows(samples.vectors(["a", "b"], lexical=False), [], [], [], [])
            writer.commit()
        snapshot = store.snapshot
        assert snapshot.vector(0, 0)[1].dtype == dtype
        assert (snapshot.id(0, 1), snapshot.stored(0, 1), snapshot.content_hash(0, 1)) == ("1", b"{}", b"")
        assert snapshot.find(["a"])[0].tolist() == [-1]
        assert snapshot.segments[0].stored_bytes == 0


def bad_batches():
    good = samples.vectors(["a", "b", "c"])
    yield "other dimension", good.indptr, good.indices, good.values, 61
    yield "descending", good.indptr, good.indices[::-1].copy(), good.values, 60
    yield "out of range", good.indptr, good.indices + 40, good.values, 60
    yield "negative column", good.indptr, good.indices - 40, good.values, 60
    yield "nan", good.indptr, good.indices, good.values * np.nan, 60
    yield "negative weight", good.indptr, good.indices, -good.values, 60
    yield "short", good.indptr, good.indices[:-1], good.values[:-1], 60
    yield "offsets", good.indptr[::-1].copy(), good.indices, good.values, 60


@pytest.mark.parametrize("bad", list(bad_batches()), ids=lambda bad: bad[0])
def test_a_batch_that_cannot_be_is_refused_and_leaves_nothing(store: Store, bad) -> None:
    _, indptr, indices, values, dimension = bad
    batch = SparseBatch(indptr, indices, values.astype(np.float32), dimension)
    with store.writing() as writer:
        samples.write(writer, ["x"])
        with pytest.raises((InputError, EncoderMismatchError)):
            writer.add_rows(batch, list("abc"), [b"{}"] * 3, [b"h" * 16] * 3, [{}] * 3)
        with pytest.raises(InputError):
            writer.add_rows(samples.vectors(["a"]), ["a"], [b"{}"], [b"short"], [{}])
        with pytest.raises(InputError):
            writer.add_rows(samples.vectors(["a"]), ["a", "b"], [b"{}"], [b"h" * 16], [{}])
        with pytest.raises(InputError, match="'year' of the document 'a'"):
            writer.add_rows(samples.vectors(["a"]), ["a"], [b"{}"], [b"h" * 16], [{"year": "x"}])
        samples.write(writer, ["y"])
        writer.commit()
    assert samples.living(store) == ["x", "y"]


# Where an index may be made, and what is opened


def test_create_and_overwrite(store: Store, folder: Path) -> None:
    samples.add(store, "a")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "segment-of-mine.lsr").write_text("mine", encoding="utf-8")
    with pytest.raises(IndexExistsError, match="--overwrite"):
        Store.create(folder, samples.settings(), query_side=None)
    with Store.open(folder) as reader:
        with Store.create(folder, samples.settings(fields={}), query_side=b"new", overwrite=True) as new:
            samples.add(new, "z")
        assert samples.living(reader) == ["a"]
        assert reader.refresh() is True
        assert (samples.living(reader), reader.query_side()) == (["z"], b"new")
    assert {"notes.txt", "segment-of-mine.lsr"} < set(names(folder))
    assert len(names(folder)) == 6
    with pytest.raises(LsrError, match="replaced"):
        samples.add(store, "b")


@pytest.mark.parametrize("overwrite", [True, False])
def test_somebody_elses_folder_is_refused_and_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine", encoding="utf-8")
    for make in (Store.create, Store.begin_build):
        with pytest.raises(NotAnIndexError, match=r"thesis\.tex"):
            make(tmp_path, samples.settings(), query_side=None, overwrite=overwrite)
    with pytest.raises(NotAnIndexError, match=r"thesis\.tex"):
        Store.open(tmp_path)
    with pytest.raises(NotAnIndexError, match="is a file"):
        Store.create(tmp_path / "thesis.tex", samples.settings(), query_side=None, overwrite=overwrite)
    with pytest.raises(NotAnIndexError, match="is a file"):
        Store.open(tmp_path / "thesis.tex")
    assert names(tmp_path) == ["thesis.tex"]


def test_a_foreign_database_of_our_name_is_refused(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection:
        connection.execute("CREATE TABLE photos (id)")
        connection.commit()
    before = (tmp_path / "catalog.sqlite").read_bytes()
    with pytest.raises(NotAnIndexError, match=r"catalog\.sqlite"):
        Store.open(tmp_path)
    with pytest.raises(NotAnIndexError, match=r"catalog\.sqlite"):
        Store.create(tmp_path, samples.settings(), query_side=None, overwrite=True)
    assert (tmp_path / "catalog.sqlite").read_bytes() == before
    (tmp_path / "catalog.sqlite").unlink()
    (tmp_path / "catalog.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAnIndexError, match="no regular file"):
        Store.open(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(IndexNotFoundError, match="no index"):
            Store.open(path)
        assert Store.resume_build(path) is None


def test_what_an_interrupted_creation_left_counts_as_empty(tmp_path: Path) -> None:
    for name in ("queries-0123456789abcdef.lsr", "catalog-0123456789abcdef.tmp", "writer.lock"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "catalog.sqlite-journal").write_bytes(b"half")
    with pytest.raises(IndexNotFoundError):
        Store.open(tmp_path)
    with Store.create(tmp_path, samples.settings(), query_side=None) as store:
        samples.add(store, "a")
    assert len(names(tmp_path)) == 3
    assert samples.read_everything(tmp_path) == ["a"]


def test_a_newer_catalog_is_said_and_left_alone(store: Store, folder: Path, monkeypatch) -> None:
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "FORMAT_VERSION", 9)
        patch.setattr(catalog_rows, "FORMAT_VERSION", 9)
        Store.create(folder, samples.settings(), query_side=None, overwrite=True).close()
        for path in folder.iterdir():
            path.unlink()
        Store.create(folder, samples.settings(), query_side=None).close()
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for attempt in (
        lambda: Store.open(folder),
        lambda: Store.create(folder, samples.settings(), query_side=None, overwrite=True),
        lambda: Store.begin_build(folder, samples.settings(), query_side=None, overwrite=True),
    ):
        with pytest.raises(IndexVersionError, match=r"catalog\.sqlite is of index format 9"):
            attempt()
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


def test_odd_paths(tmp_path: Path) -> None:
    for name in ("ü b?c#d%20e", "a&mode=memory", "deep/er/and deeper"):
        with Store.create(tmp_path / name, samples.settings(), query_side=None) as store:
            samples.add(store, "a")
        assert samples.read_everything(tmp_path / name) == ["a"]


@pytest.mark.parametrize(
    "bad", [{"kind": "texts"}, {"quantize": "u4"}, {"fields": {"a": "b"}}, {"dimension": -1}]
)
def test_settings_that_cannot_be_make_no_folder(folder: Path, bad) -> None:
    with pytest.raises(InputError):
        Store.create(folder, samples.settings(**bad), query_side=None)
    assert not folder.exists()


# One writer at a time


def test_two_handles_of_one_process_exclude_each_other(store: Store, folder: Path) -> None:
    with Store.open(folder) as other, store.writing() as writer:
        with pytest.raises(IndexLockedError, match=f"process {os.getpid()} on "):
            samples.add(other, "b")
        with pytest.raises(IndexLockedError), store.writing():
            pass
        with pytest.raises(IndexLockedError):
            Store.create(folder, samples.settings(), query_side=None, overwrite=True)
        samples.write(writer, ["a"])
        writer.commit()
    samples.add(store, "c")
    assert samples.read_everything(folder) == ["a", "c"]


def test_each_writer_sees_what_the_other_committed(store: Store, folder: Path) -> None:
    with Store.open(folder) as other:
        samples.add(other, "a")
        samples.add(store, "b")
        samples.add(other, "c")
        assert samples.living(other) == ["a", "b", "c"]
        sequences = [int(s.document_sequence[0]) for s in other.snapshot.segments]
        assert sequences == [0, 1, 2]


def test_another_process_is_excluded_and_a_killed_one_is_not(store: Store, folder: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom lsr.index.lock import WriterLock\n"
        "with WriterLock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(IndexLockedError, match=f"process {child.pid} on "):
        samples.add(store, "a")
    child.kill()
    child.communicate()
    samples.add(store, "a")
    assert samples.read_everything(folder) == ["a"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_and_neither_holds_the_lock_nor_uses_the_writer(
    store: Store, folder: Path
) -> None:
    samples.add(store, "a")
    with store.writing() as writer:
        samples.write(writer, ["b"])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert samples.living(store) == ["a"]
                for use in (writer.commit, lambda: samples.write(writer, ["c"])):
                    with pytest.raises(LsrError, match="forked"):
                        use()
                with pytest.raises(IndexLockedError):
                    samples.add(Store.open(folder), "c")
                writer.end()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        writer.commit()
    assert samples.read_everything(folder) == ["a", "b"]


def test_threads_read_while_a_writer_commits(store: Store, folder: Path) -> None:
    samples.add(store, "d0")
    failures = []

    def read() -> None:
        try:
            with Store.open(folder) as reader:
                seen = 0
                for _ in range(30):
                    reader.refresh()
                    found = samples.living(reader)
                    assert found == [f"d{i}" for i in range(len(found))] and len(found) >= seen
                    seen = len(found)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 15):
        samples.add(store, f"d{number}")
    for thread in threads:
        thread.join()
    assert not failures


def test_a_reader_keeps_its_commit_while_the_index_is_replaced(store: Store, folder: Path) -> None:
    samples.add(store, *"abc")
    with Store.open(folder) as reader:
        for id in "xyz":
            with Store.create(folder, samples.settings(), query_side=None, overwrite=True) as new:
                samples.add(new, id)
            assert samples.living(reader) == ["a", "b", "c"]
            assert reader.query_side() == b"the query side"
        assert samples.read_everything(folder) == ["z"]


def test_a_file_that_vanishes_under_a_reader_is_looked_for_again(
    store: Store, folder: Path, monkeypatch
) -> None:
    samples.add(store, "a")
    from lsr.index import store as module

    read, replaced = module.read_index, []

    def replace_behind(path: Path):
        state = read(path)
        if not replaced:
            replaced.append(True)
            with Store.create(folder, samples.settings(), query_side=None, overwrite=True) as new:
                samples.add(new, "b")
        return state

    monkeypatch.setattr(module, "read_index", replace_behind)
    with Store.open(folder) as reader:
        assert samples.living(reader) == ["b"]
    (folder / reader_file(folder)).unlink()
    with pytest.raises(IndexCorruptError, match=r"segment-[0-9a-f]{16}\.lsr is missing"):
        Store.open(folder)


def reader_file(folder: Path) -> str:
    return next(name for name in names(folder) if name.startswith("segment-"))


def test_settings_survive_as_json(store: Store) -> None:
    from lsr.index.settings import settings_from_json, settings_to_json

    assert settings_from_json(settings_to_json(store.settings)) == store.settings
    for bad in ("[]", "{}", '{"kind": 3}', "x", "[" * 100_000, json.dumps({"kind": "documents"})):
        with pytest.raises(ValueError):
            settings_from_json(bad)


def test_there_is_room_for_no_more(store: Store, folder: Path, monkeypatch) -> None:
    samples.add(store, "a")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    before = names(folder)
    with monkeypatch.context() as patch:
        patch.setattr("lsr.index.durable.os.write", full)
        with pytest.raises(LsrError, match=r"segment-.*cannot be written.*No space left"):
            samples.add(store, "b")
    assert names(folder) == before
    samples.add(store, "b")
    assert samples.read_everything(folder) == ["a", "b"]
