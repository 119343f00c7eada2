"""Files cut, flipped, lost or foreign: a sentence that names the file, never a crash or a wrong answer."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import index_samples as samples
import pytest

from lsr.errors import IndexCorruptError, IndexExistsError, IndexNotFoundError, LsrError, NotAnIndexError
from lsr.index.store import Store


@pytest.fixture
def written(store: Store, folder: Path) -> Path:
    samples.add(store, *(f"doc-{i}" for i in range(12)))
    samples.add(store, "a", "b")
    samples.remove(store, "doc-3")
    store.close()
    return folder


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.stat().st_size]


def attempt(folder: Path, expected: list[str]) -> LsrError | None:
    """Opens and reads all; the answer is right, or the error is one of ours."""
    try:
        assert samples.read_everything(folder) == expected
    except LsrError as error:
        assert "\n" not in str(error)
        return error
    return None


def test_every_file_cut(written: Path, tmp_path: Path) -> None:
    expected = samples.read_everything(written)
    for file in files(written):
        size = file.stat().st_size
        for length in sorted({0, 1, 7, size // 3, size // 2, size - 9, size - 1}):
            copy = tmp_path / "copy"
            shutil.copytree(written, copy)
            (copy / file.name).write_bytes(file.read_bytes()[:length])
            error = attempt(copy, expected)
            if file.name != "catalog.sqlite":
                assert isinstance(error, IndexCorruptError) and error.file == file.name
                assert file.name in str(error)
            else:
                assert error is not None or length > size // 2
            shutil.rmtree(copy)


def test_every_file_flipped(written: Path, tmp_path: Path) -> None:
    expected = samples.read_everything(written)
    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    for file in files(written):
        data = file.read_bytes()
        for position in {len(data) * i // 80 for i in range(80)}:
            harmed = bytearray(data)
            harmed[position] ^= 1 << (position % 8)
            (copy / file.name).write_bytes(harmed)
            error = attempt(copy, expected)
            if file.name != "catalog.sqlite":
                assert error is not None and file.name in str(error)
        (copy / file.name).write_bytes(data)
    assert attempt(copy, expected) is None


def test_a_lost_file_is_named(written: Path) -> None:
    lost = next(path for path in files(written) if path.name.startswith("segment-"))
    lost.unlink()
    with pytest.raises(IndexCorruptError, match=lost.name):
        Store.open(written)


def test_a_strangers_folder_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(NotAnIndexError):
            Store.create(tmp_path, samples.settings(), query_side=None, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises((NotAnIndexError, IndexNotFoundError)):
        Store.open(tmp_path)


def test_overwriting_removes_our_files_alone(written: Path) -> None:
    (written / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises((IndexExistsError, NotAnIndexError)):
        Store.create(written, samples.settings(), query_side=None)
    with contextlib.suppress(NotAnIndexError):
        Store.create(written, samples.settings(), query_side=None, overwrite=True).close()
    assert (written / "notes.txt").read_text(encoding="utf-8") == "mine"


MANY = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
sys.path.insert(0, sys.argv[1])
import index_samples as samples
from lsr.index.check import verify
from lsr.index.quantise import quantise_query
from lsr.index.search import search
from lsr.index.store import Store
import numpy as np

folder = Path(sys.argv[2])
with Store.create(folder, samples.settings(), query_side=b"q") as store:
    for number in range(1000):
        samples.add(store, *(f"{number}-{i}" for i in range(5)))
with Store.open(folder, verify=True) as store:
    assert len(store.snapshot.segments) == 1000
    columns = np.arange(samples.DIMENSION, dtype=np.int32)
    query = quantise_query(columns, np.ones(len(columns), np.float32), "u8")
    ranking = search(store.snapshot, query, 50)
    assert len(ranking.scores) == 50 and (np.diff(ranking.scores) <= 0).all()
    assert len(samples.living(store)) == 5000
assert verify(folder, deep=True).faults == ()
print("fine")
"""


def test_a_thousand_segments_under_1024_descriptors(tmp_path: Path) -> None:
    code = [sys.executable, "-c", MANY, str(Path(samples.__file__).parent), str(tmp_path / "many.lsr")]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr[-2000:]
