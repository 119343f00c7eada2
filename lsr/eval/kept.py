"""What an evaluation keeps so that a killed one goes on and a second one only reads.

A system's run over a data set (rankings and costs) is one file, `SYSTEM.run.json.gz`, beside its TREC run
and its index. It is taken for another only if the key inside is the same: a hash of the system's own key
(the encoder's fingerprint, the quantisation, the mode), the content of corpus and queries, the way of
timing, and the version and code of this package (see `code_version`). A file that is damaged or of another
key counts as not there.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lsr import __version__
from lsr.data.canonical import canonical_json
from lsr.eval.datasets import CorpusCheck, Dataset
from lsr.eval.efficiency import Clock, Latency, Sparsity
from lsr.eval.remembered import write_whole
from lsr.eval.systems import DEPTH, SystemRun

_FORMAT = 1
_DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zlib.error)


@dataclass(frozen=True, slots=True)
class Content:
    """What a data set holds.

    Attributes:
        corpus: Hash of all documents, in their order.
        queries: Hash of the judged queries' ids and texts, in their order.
        documents: Number of documents.
        own: Number of documents that bear the id of a judged query: each is left out of that query's ranking.
        notes: What only the whole corpus can tell, for the report; no part of any key.
    """

    corpus: str
    queries: str
    documents: int
    own: int = 0
    notes: tuple[str, ...] = ()


def read_content(dataset: Dataset) -> Content:
    """Reads a data set through, once."""
    corpus = blake2b(digest_size=16)
    documents = own = 0
    check = CorpusCheck(dataset)
    for document in check.documents():
        data = canonical_json(document.fields)
        corpus.update(len(data).to_bytes(8, "little"))
        corpus.update(data)
        documents += 1
        own += document.id in dataset.queries
    queries = hash_of(list(dataset.queries.items()))
    return Content(corpus.hexdigest(), queries, documents, own, check.notes())


def run_key(system: Mapping[str, Any], content: Content, clock: Clock) -> str:
    """The key under which a run is kept."""
    facts = [content.corpus, content.queries, content.documents, content.own]
    return hash_of([code_version(), dict(system), facts, asdict(clock), DEPTH])


@cache
def code_version() -> str:
    """The version of this package, and the hash of the modules that decide about rankings and costs.

    So a measurement that was kept is made anew after the engine was changed, though its version was not.
    """
    hashed = blake2b(__version__.encode("ascii"), digest_size=16)
    root = Path(__file__).parent.parent
    named = [root / "eval" / f"{name}.py" for name in _SYSTEM_MODULES]
    for path in sorted([*named, *(root / "index").rglob("*.py"), *(root / "encoders").rglob("*.py")]):
        with suppress(OSError):  # a package that is not made of files has its version alone
            hashed.update(path.read_bytes())
    return hashed.hexdigest()


_SYSTEM_MODULES = (
    "bm25",
    "dense",
    "efficiency",
    "engine",
    "lucene",
    "lucene_child",
    "systems",
    "vector_system",
)


def hash_of(value: Any) -> str:
    """The hash of JSON values."""
    data = json.dumps(value, sort_keys=True, ensure_ascii=True).encode("ascii")
    return blake2b(data, digest_size=16).hexdigest()


def write_kept(path: Path, key: str, run: SystemRun) -> None:
    """Keeps a run, whole or not at all."""
    costs = {name: getattr(run, name) for name in _COSTS}
    record = {
        "format": _FORMAT,
        "key": key,
        "costs": costs,
        "sparsity": asdict(run.sparsity),
        "latency": asdict(run.latency),
        "rankings": run.rankings,
    }
    packed = gzip.compress(json.dumps(record, ensure_ascii=False).encode("utf-8"), 6, mtime=0)
    write_whole(path, packed)


def read_kept(path: Path, key: str) -> SystemRun | None:
    """A run that was kept under this key; None if there is none."""
    try:
        record = json.loads(gzip.decompress(path.read_bytes()))
        if record["format"] != _FORMAT or record["key"] != key:
            return None
        latency = record["latency"]
        spread = latency["spread"]
        costs = record["costs"]
        return SystemRun(
            rankings=dict(_rankings(record["rankings"])),
            sparsity=Sparsity(**record["sparsity"]),
            latency=Latency(**{**latency, "spread": None if spread is None else tuple(spread)}),
            **{**costs, "milliseconds": tuple(costs["milliseconds"])},
        )
    except _DAMAGE:
        return None


_COSTS = (
    *("documents", "build_seconds", "index_bytes", "stored_bytes"),
    *("overlap_with_exact", "peak_mb", "milliseconds"),
)


def _rankings(found: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    for query, ranking in found.items():
        yield query, [(str(id), float(score)) for id, score in ranking]
