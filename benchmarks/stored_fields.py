"""Where the text of documents is kept: zlib blocks of about 4 KB, or a read-only SQLite file.

Writes the corpus of a BEIR folder both ways, then fetches the same random documents from both, and prints
bytes on disk and the median time of a fetch. docs/decisions/002-stored-fields.md has what it said once.

    python benchmarks/stored_fields.py BEIR_FOLDER
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lsr.data.beir import BeirFolder
from lsr.data.canonical import canonical_json
from lsr.index.format import FileRecord, container_chunks, read_container
from lsr.index.mapping import file_bytes
from lsr.index.stored import StoredBuffer, StoredDocuments

Fetch = Callable[[int], bytes]


def open_blocks(documents: Sequence[bytes], folder: Path) -> tuple[int, Fetch]:
    """The way of `lsr.index.stored`: size of the file, and how one document is fetched."""
    buffer = StoredBuffer()
    for document in documents:
        buffer.add(document)
    name = "segment-0000000000000000.lsr"
    data = b"".join(container_chunks("segment", name, {}, buffer.sections()))
    (folder / name).write_bytes(data)
    record = FileRecord(name, len(data), zlib.crc32(data))
    container = read_container(file_bytes(folder, name), "segment", record, whole=False)
    return len(data), StoredDocuments(container.sections, len(documents), name).__getitem__


def open_sqlite(documents: Sequence[bytes], folder: Path) -> tuple[int, Fetch]:
    """A row a document, each compressed by itself; read with `immutable=1`."""
    path = folder / "stored.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE stored (document INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    rows = ((number, zlib.compress(document, 6)) for number, document in enumerate(documents))
    connection.executemany("INSERT INTO stored VALUES (?, ?)", rows)
    connection.commit()
    connection.execute("VACUUM")
    connection.close()
    reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    def fetch(document: int) -> bytes:
        row = reader.execute("SELECT data FROM stored WHERE document = ?", (document,)).fetchone()
        return zlib.decompress(row[0])

    return path.stat().st_size, fetch


def median_microseconds(fetch: Fetch, draws: Sequence[Sequence[int]]) -> float:
    """The median time in which all documents of one draw are fetched."""
    times = []
    for draw in draws:
        start = time.perf_counter()
        for document in draw:
            fetch(document)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("beir_folder", type=Path, help="a folder with corpus.jsonl or corpus.jsonl.gz")
    parser.add_argument("--draws", type=int, default=2000, help="how often 10 documents are fetched")
    arguments = parser.parse_args()
    corpus = BeirFolder(arguments.beir_folder)
    documents = [canonical_json(document.fields) for document in corpus.documents()]
    lengths = np.array([len(document) for document in documents])
    print(f"{len(documents):,} documents, {lengths.sum():,} bytes, median {np.median(lengths):,.0f}")
    rng = random.Random(1)
    draws = [[rng.randrange(len(documents)) for _ in range(10)] for _ in range(arguments.draws)]
    with tempfile.TemporaryDirectory() as folder:
        ways = {"zlib blocks": open_blocks, "SQLite, zlib a row": open_sqlite}
        opened = {name: way(documents, Path(folder)) for name, way in ways.items()}
        for document in draws[0]:
            assert {fetch(document) for _, fetch in opened.values()} == {documents[document]}
        for name, (size, fetch) in opened.items():
            rounds = [median_microseconds(fetch, draws) for _ in range(3)]
            said = ", ".join(f"{micros:.0f}" for micros in rounds)
            print(f"{name}: {size:,} bytes, 10 documents in {said} microseconds (three rounds)")


if __name__ == "__main__":
    main()
