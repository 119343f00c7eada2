"""Uses harmed copies of an index: reads, searches and verifies each, and tells what came of it.

    python index_harm.py INDEX COPY FLIPS [unchecked]

With `unchecked`, files are opened as those above 64 MB are, without comparing the checksum of all bytes.
A process of its own, so that a crash of the interpreter is seen from outside as what it is. Before each use
a line says what is about to be done, after it a line of JSON tells what came of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import index_answers
import index_samples as samples

from lsr.errors import IndexCorruptError, LsrError
from lsr.index import segment_reader, store
from lsr.index.check import verify
from lsr.index.store import Store


def harmed(data: bytes, flips: int) -> Iterator[tuple[str, bytes]]:
    """A file cut in seven places, and with one bit flipped in each of `flips` places."""
    size = len(data)
    for length in sorted({0, 1, 7, size // 3, size // 2, size - 9, size - 1}):
        yield f"cut to {length} of {size}", data[:length]
    for position in sorted({size * i // flips for i in range(flips)}):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        yield f"bit {position % 8} of byte {position} flipped", bytes(changed)


def read(folder: Path) -> Any:
    """All that the index holds."""
    return samples.read_everything(folder)


def ask(folder: Path) -> Any:
    """What it answers, and why."""
    with Store.open(folder) as opened:
        return [index_answers.rank(opened, query) for query in index_answers.QUERIES]


def check(folder: Path) -> Any:
    """What `verify` says of it; a fault that it found is raised as the command line does."""
    report = verify(folder, deep=True)
    if report.faults:
        raise report.error()
    return report.documents


CHECKED: dict[str, Callable[[Path], Any]] = {"read": read, "ask": ask, "check": check}
UNCHECKED: dict[str, Callable[[Path], Any]] = {"ask": ask, "check": check}


def outcome(use: Callable[[Path], Any], folder: Path, expected: Any) -> dict[str, Any]:
    """`"right"`, or our error with the file that it names; anything else is a fault of the engine."""
    try:
        found = use(folder)
    except IndexCorruptError as error:
        return {"what": "corrupt", "file": error.file, "message": str(error)}
    except LsrError as error:
        return {"what": "refused", "message": str(error)}
    except Exception as error:
        return {"what": f"raised {error!r}"}
    return {"what": "right" if found == expected else "wrong answer"}


def tell(value: object) -> None:
    print(value if isinstance(value, str) else json.dumps(value), flush=True)


def restore(copy: Path, whole: dict[str, bytes]) -> None:
    """Brings a copy back; also what SQLite left beside a catalog that it misunderstood goes."""
    for path in copy.iterdir():
        if path.name not in whole:
            path.unlink()
    for name, data in whole.items():
        (copy / name).write_bytes(data)


def main(index: Path, copy: Path, flips: int, uses: dict[str, Callable[[Path], Any]]) -> None:
    whole = {path.name: path.read_bytes() for path in sorted(index.iterdir())}
    expected = {name: use(index) for name, use in uses.items()}
    copy.mkdir()
    restore(copy, whole)
    for file, data in whole.items():
        if not data:
            continue
        for harm, changed in harmed(data, flips):
            for name, use in uses.items():
                tell(f"{file}: {harm}: {name}")
                (copy / file).write_bytes(changed)
                found = outcome(use, copy, expected[name])
                restore(copy, whole)
                tell({"harmed": file, "harm": harm, "use": name, **found})
    for name, use in uses.items():
        tell({"harmed": None, "harm": "nothing", "use": name, **outcome(use, copy, expected[name])})


if __name__ == "__main__":
    if sys.argv[4:] == ["unchecked"]:
        segment_reader.CHECKSUM_LIMIT = store.CHECKSUM_LIMIT = 0
    uses = UNCHECKED if sys.argv[4:] else CHECKED
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), uses)
