"""How many documents, queries and judgements the known data sets are published with.

Documents and test queries of the BEIR sets (MS MARCO: dev) are those of Table 1 of Thakur, Reimers, Rücklé,
Srivastava and Gurevych, *BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval
Models*, NeurIPS 2021 Datasets and Benchmarks. The numbers of judgements, the other splits, the parts of
CQADupStack, the NanoBEIR sets, Cranfield and Vaswani are those of the metadata of ir_datasets 0.6.3, which
gives the same documents and queries as the table wherever both give any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BEIR_TABLE = "Thakur et al. 2021, Table 1"
METADATA = "ir_datasets 0.6.3"


@dataclass(frozen=True, slots=True)
class PublishedCounts:
    """What a data set is published with.

    Attributes:
        split: The split that the numbers of queries and judgements are of.
        queries: Judged queries.
        documents: Documents of the corpus.
        judgements: Judged pairs of the split; None where no source says.
        source: Where the numbers stand.
    """

    split: str
    queries: int
    documents: int
    judgements: int | None
    source: str


def published_counts(name: str, split: str) -> PublishedCounts | None:
    """The published counts of a data set.

    Args:
        name: A name of BEIR (`"scifact"`, `"cqadupstack/android"`), `"nano:"` and one, `"cranfield"`,
            `"vaswani"`; with `"irds:"`, an id of ir_datasets, which may end in the split.
        split: Which judgements.

    Returns:
        None for a data set or a split that is not in the table.

    Example:
        >>> published_counts("irds:beir/scifact/test", "test").documents
        5183
    """
    key = name.lower().removeprefix("irds:").removeprefix("beir/").replace("nano-beir/", "nano:")
    for ending in ("train", "dev", "test"):
        if name.startswith("irds:") and key.endswith(f"/{ending}"):
            key, split = key.removesuffix(f"/{ending}"), ending
    known = _TABLE.get(key)
    if known is None or split not in known.splits:
        return None
    queries, judgements = known.splits[split]
    return PublishedCounts(split, queries, known.documents, judgements, known.source)


@dataclass(frozen=True, slots=True)
class _Published:
    documents: int
    splits: Mapping[str, tuple[int, int | None]]
    source: str = f"{BEIR_TABLE}; {METADATA}"


def _table() -> dict[str, _Published]:
    known = {name: _Published(documents, splits) for name, (documents, splits) in _BEIR.items()}
    for name, (documents, queries) in _BEIR_ON_REQUEST.items():
        known[name] = _Published(documents, {"test": (queries, None)}, BEIR_TABLE)
    for name, (documents, queries, judgements) in _OTHERS.items():
        known[name] = _Published(documents, {"test": (queries, judgements)}, METADATA)
    return known


_BEIR: dict[str, tuple[int, dict[str, tuple[int, int | None]]]] = {
    "msmarco": (8841823, {"train": (502939, 532751), "dev": (6980, 7437), "test": (43, 9260)}),
    "trec-covid": (171332, {"test": (50, 66336)}),
    "nfcorpus": (3633, {"train": (2590, 110575), "dev": (324, 11385), "test": (323, 12334)}),
    "nq": (2681468, {"test": (3452, 4201)}),
    "hotpotqa": (5233329, {"train": (85000, 170000), "dev": (5447, 10894), "test": (7405, 14810)}),
    "fiqa": (57638, {"train": (5500, 14166), "dev": (500, 1238), "test": (648, 1706)}),
    "arguana": (8674, {"test": (1406, 1406)}),
    "webis-touche2020": (382545, {"test": (49, 2214)}),
    "quora": (522931, {"dev": (5000, 7626), "test": (10000, 15675)}),
    "dbpedia-entity": (4635922, {"dev": (67, 5673), "test": (400, 43515)}),
    "scidocs": (25657, {"test": (1000, 29928)}),
    "fever": (5416568, {"train": (109810, 140085), "dev": (6666, 8079), "test": (6666, 7937)}),
    "climate-fever": (5416593, {"test": (1535, 4681)}),
    "scifact": (5183, {"train": (809, 919), "test": (300, 339)}),
}

_BEIR_ON_REQUEST = {
    "bioasq": (14914602, 500),
    "signal1m": (2866316, 97),
    "trec-news": (594977, 57),
    "robust04": (528155, 249),
}

_OTHERS = {
    "cqadupstack/android": (22998, 699, 1696),
    "cqadupstack/english": (40221, 1570, 3765),
    "cqadupstack/gaming": (45301, 1595, 2263),
    "cqadupstack/gis": (37637, 885, 1114),
    "cqadupstack/mathematica": (16705, 804, 1358),
    "cqadupstack/physics": (38316, 1039, 1933),
    "cqadupstack/programmers": (32176, 876, 1675),
    "cqadupstack/stats": (42269, 652, 913),
    "cqadupstack/tex": (68184, 2906, 5154),
    "cqadupstack/unix": (47382, 1072, 1693),
    "cqadupstack/webmasters": (17405, 506, 1395),
    "cqadupstack/wordpress": (48605, 541, 744),
    "nano:arguana": (3635, 50, 50),
    "nano:climate-fever": (3408, 50, 148),
    "nano:dbpedia-entity": (6045, 50, 1158),
    "nano:fever": (4996, 50, 57),
    "nano:fiqa": (4598, 50, 123),
    "nano:hotpotqa": (5090, 50, 100),
    "nano:msmarco": (5043, 50, 50),
    "nano:nfcorpus": (2953, 50, 2518),
    "nano:nq": (5035, 50, 57),
    "nano:quora": (5046, 50, 70),
    "nano:scidocs": (2210, 50, 244),
    "nano:scifact": (2919, 50, 56),
    "nano:webis-touche2020": (5745, 49, 932),
    "cranfield": (1400, 225, 1837),
    "vaswani": (11429, 93, 2083),
}

_TABLE = _table()
