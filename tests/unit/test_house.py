"""The house: arrows between rooms, sizes of modules, what an import costs, the public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lsr

ROOT = Path(lsr.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LONGEST = 500

API = {"api", "adding", "asking", "building", "encoding", "highlight", "settings", "survey", "vectors"}
"""Modules beside `api` that are of its room."""

LEVELS = [
    {"cache", "types", "errors", "progress"},
    {"data"},
    {"encoders", "index"},
    {"api"},
    {"eval", "training"},
    {"demo"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a room imports from lower levels and from itself, never from above or beside.

`eval` and `training` stand beside each other, and a trainer evaluates what it made: `training` may import
`eval`, as the one exception.
"""


def room_of(module: str) -> str:
    """The room of a dotted name below `lsr`."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else ""
    return "api" if name in API else name


def level_of(room: str) -> int:
    return next(i for i, rooms in enumerate(LEVELS) if room in rooms)


def dotted(path: Path) -> str:
    parts = ("lsr", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, those within functions and under TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" if module == "lsr" else module for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_follow_the_arrows(path: Path) -> None:
    room = room_of(dotted(path))
    if room == "":
        return  # lsr/__init__.py names everything, lazily
    for module in imports_of(path):
        if not module.startswith("lsr.") or module == "lsr.__version__":
            continue
        other = room_of(module)
        if other == room or (room, other) == ("training", "eval"):
            continue
        assert level_of(other) < level_of(room), f"{dotted(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_no_module_is_called_utils() -> None:
    assert not [path for path in MODULES if "util" in path.stem]


@pytest.mark.parametrize("path", sorted((ROOT / "index" / "kernels").glob("*.py")), ids=dotted)
def test_kernels_import_numpy_numba_and_each_other_alone(path: Path) -> None:
    given = ("numpy", "numba", "llvmlite", "typing", "__future__")  # llvmlite is a part of Numba
    for module in imports_of(path):
        assert module.split(".")[0] in given or module.startswith("lsr.index.kernels"), module


def test_public_names_are_sorted_and_there() -> None:
    assert lsr.__all__ == sorted(lsr.__all__)
    for name in lsr.__all__:
        assert getattr(lsr, name) is not None
    assert set(lsr.__all__) <= set(dir(lsr))


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lsr.nothing


def loaded_after(code: str) -> set[str]:
    """The top-level packages in `sys.modules` after `code` ran in a process of its own."""
    script = f"{code}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_is_cheap() -> None:
    assert not loaded_after("import lsr") & {
        "numba",
        "torch",
        "scipy",
        "numpy",
        "onnxruntime",
        "click",
        "rich",
    }


def test_the_command_line_imports_nothing_heavy_for_its_help() -> None:
    code = "from lsr.cli.failures import run; from lsr.cli import cli; run(cli, ['--help'])"
    assert not loaded_after(code) & {"numba", "torch", "scipy", "numpy", "onnxruntime", "rich"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()
