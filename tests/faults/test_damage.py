"""Files cut, flipped, lost or foreign: a sentence that names the file, never a crash or a wrong answer."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import index_samples as samples
import pytest

from lsr.errors import IndexCorruptError, IndexExistsError, IndexNotFoundError, NotAnIndexError
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


def use_harmed_copies(index: Path, copy: Path, flips: int, *more: str) -> list[dict]:
    """What reading, searching and verifying came to, for many harms of every file.

    In a process of its own: if a harmed file brings the interpreter down, the test says which.
    """
    script = Path(samples.__file__).with_name("index_harm.py")
    code = [sys.executable, "-X", "faulthandler", str(script), str(index), str(copy), str(flips), *more]
    done = subprocess.run(code, capture_output=True, text=True, encoding="utf-8")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]} ended the process: {done.stderr[-2000:]}"
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_every_file_cut_and_flipped(written: Path, tmp_path: Path) -> None:
    """Right answers, or the sentence that names the file; a flip in a catalog's unused bytes may pass."""
    found = use_harmed_copies(written, tmp_path / "copy", 80)
    sizes = {path.name: path.stat().st_size for path in files(written)}
    assert len(found) == 3 * (len(sizes) * (7 + 80) + 1), "each harm is read, searched and verified"
    for case in found:
        assert case["what"] in ("right", "corrupt", "refused"), case
        message = case.get("message", "")
        assert "\n" not in message and len(message) < 600, case
        if case["harmed"] is None:
            assert case["what"] == "right", case
        elif case["harmed"] != "catalog.sqlite":
            assert (case["what"], case["file"]) == ("corrupt", case["harmed"]), case
            assert case["harmed"] in message, case
        elif case["what"] != "right":
            assert "catalog.sqlite" in message, case
        elif case["harm"].startswith("cut"):  # only SQLite's empty pages may be missing unnoticed
            assert int(case["harm"].split()[2]) > sizes["catalog.sqlite"] // 2, case


def test_segments_beyond_the_checksum_limit(written: Path, tmp_path: Path) -> None:
    """Their bytes are not compared when they are opened: a search may be wrong then, but `verify` is not."""
    found = use_harmed_copies(written, tmp_path / "copy", 120, "unchecked")
    segments = [case for case in found if (case["harmed"] or "").startswith("segment-")]
    assert len(segments) == 2 * 2 * (7 + 120)
    for case in segments:
        if case["use"] == "check":
            assert (case["what"], case["file"]) == ("corrupt", case["harmed"]), case
        else:
            assert case["what"] in ("right", "wrong answer", "corrupt"), case


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
