"""The kernel cache: loaded when whole, compiled with one message when not, safe for threads and forks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lsr
from lsr.errors import InputError
from lsr.index.compiled import warmup

# Uses one small kernel and says what was said and found.
PROBE = """
import json, logging, sys
import numpy as np
from lsr.index import compiled
from lsr.index.kernels.layout import count_blocks
said = []
compiled.on_compile = said.append
counts, blocks = np.zeros((2, 1), np.int64)
indptr, terms, order = np.arange(3), np.zeros(2, np.int32), np.arange(2, dtype=np.int32)
run = compiled.kernel(count_blocks, "all")
again = compiled.kernel(count_blocks, "all")
run(indptr, terms, order, counts, blocks)
print(json.dumps({
    "said": said, "counted": int(counts[0]), "same": run is again,
    "modules": [name for name in sys.modules if name.startswith(("scipy.linalg", "scipy.sparse"))],
}))
"""

# Warms the cache twice and names every kernel in each form, as the modules themselves list them.
WARMUPS = """
import importlib, json, pkgutil
from lsr.index import kernels
from lsr.index.compiled import warmup
first, second = warmup(), warmup()
names = []
for module in pkgutil.iter_modules(kernels.__path__):
    found = importlib.import_module(f"{kernels.__name__}.{module.name}")
    for function, forms in getattr(found, "SIGNATURES", {}).items():
        names += [f"{module.name}.{function}.{form}" for form in forms]
print(json.dumps({
    "names": names, "folders": [str(first.folder), str(second.folder)],
    "compiled": [first.compiled, second.compiled], "loaded": [first.loaded, second.loaded],
}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package: the cache follows the kernels' source, which a tree under work may change
    between one process and the next."""
    place, source = tmp_path_factory.mktemp("package"), Path(lsr.__file__).parent
    for path in source.rglob("*.py"):
        target = place / "lsr" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return place


@pytest.fixture
def process(package):
    """Runs a script in a process of its own, which finds the copy."""

    def run(cache, script):
        path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "LSR_CACHE_DIR": str(cache), "PYTHONPATH": path}
        script = f"import lsr\nassert lsr.__file__.startswith({str(package)!r})\n{script}"
        command = [sys.executable, "-c", script]
        result = subprocess.run(
            command, env=environment, cwd=package, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result

    return run


@pytest.fixture
def probe(process):
    """Runs a script and reads what it printed."""
    return lambda cache, script=PROBE: json.loads(process(cache, script).stdout)


def kernel_files(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def the_kernel(cache):
    """The file of the kernel that `PROBE` uses."""
    (path,) = cache.rglob("layout.count_blocks.all")
    return path


def test_the_first_process_compiles_and_the_next_one_loads(probe, tmp_path):
    first, second = probe(tmp_path), probe(tmp_path)
    assert first["said"] == ["Compiling the search kernels (once per machine)."]
    assert second["said"] == []
    assert first["counted"] == second["counted"] == 2
    assert first["same"]
    assert the_kernel(tmp_path).is_file()
    assert second["modules"] == []  # loading machine code readies no compiler


def test_the_first_wait_is_the_only_one(process, tmp_path):
    """Building compiles what searching will need, so that a query never waits for the compiler."""
    script = """
from lsr.index import compiled
from lsr.index.kernels.layout import fill_layout
compiled.kernel(fill_layout, "u8")
"""
    process(tmp_path, script)
    names = {path.name for path in kernel_files(tmp_path)}
    assert names >= {"layout.fill_layout.u8", "batch.search_rows.u8", "batch.rank_rows.u8"}
    assert {name.rpartition(".")[2] for name in names} == {"u8"}


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "folder"])
def test_a_damaged_kernel_is_compiled_again_with_one_message(probe, tmp_path, damage):
    probe(tmp_path)
    path = the_kernel(tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut": content[:-9], "flip": content, "empty": b""}[damage])
    again = probe(tmp_path)
    assert again["counted"] == 2
    troubles = [message for message in again["said"] if "Compiling" not in message]
    assert len(troubles) == 1
    assert str(path) in troubles[0]
    if damage != "folder":
        assert probe(tmp_path)["said"] == []  # the damaged file was replaced


def test_a_cache_that_cannot_be_written_costs_one_message(probe, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    answer = probe(blocked)
    assert answer["counted"] == 2
    assert sum("LSR_CACHE_DIR" in message for message in answer["said"]) == 1
    assert len(answer["said"]) == 2


def test_without_a_listener_the_message_is_logged_once(process, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    script = PROBE.replace("compiled.on_compile = said.append", "")
    result = process(blocked, script)
    assert result.stderr.count("cannot be written") == 1
    assert len(result.stderr.splitlines()) == 1


def test_warmup_fills_a_folder_once(probe, tmp_path):
    found = probe(tmp_path, WARMUPS)
    kernels = len(found["names"])
    assert kernels > 10
    assert found["compiled"] == [kernels, 0] and found["loaded"] == [0, kernels]
    assert sorted(path.name for path in kernel_files(tmp_path)) == sorted(found["names"])
    assert {str(path.parent) for path in kernel_files(tmp_path)} == set(found["folders"])
    assert probe(tmp_path)["said"] == []


def test_a_warmed_folder_serves_when_only_readable(probe, tmp_path):
    probe(tmp_path)
    path = the_kernel(tmp_path)
    path.parent.chmod(0o555)
    try:
        assert probe(tmp_path)["said"] == []
    finally:
        path.parent.chmod(0o755)


def test_warmup_into_a_folder_that_cannot_be_written_fails(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        warmup(blocked)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_compile_once_and_a_fork_in_between_compiles_too(process, tmp_path):
    script = """
import os, threading
from lsr.index import compiled
from lsr.index.kernels.layout import count_blocks
from lsr.index.kernels.batch import rank_rows
found = []
def use():
    found.append(compiled.kernel(count_blocks, "all"))
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
child = os.fork()  # while a thread compiles
if child == 0:
    compiled.kernel(rank_rows, "u8")
    os._exit(0)
for thread in threads: thread.join()
assert len(found) == 8 and len(set(map(id, found))) == 1
assert os.waitpid(child, 0)[1] == 0
"""
    process(tmp_path, script)
