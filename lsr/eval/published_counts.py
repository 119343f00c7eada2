"""How many documents, queries and judgements the known data sets are published with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedCounts:
    """What a data set is published with.

    Attributes:
        split: The split that the numbers of queries and judgements are of.
        queries: Judged queries.
        documents: Documents of the corpus.
        judgements: Judged pairs of the split; None where the source does not say.
        source: Where the numbers stand.
    """

    split: str
    queries: int
    documents: int
    judgements: int | None
    source: str
