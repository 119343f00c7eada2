"""What a small index holds and answers, as JSON values: written beside the fixtures of old formats.

Everything comes out of the index alone, so that no later change of a random stream or of the samples can move
what is expected of an index that was written years before.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np

from lsr.index.quantise import quantise_query
from lsr.index.search import search
from lsr.index.store import Store

DIMENSION = 60
QUERIES: list[dict[str, Any]] = [
    {"k": 100, "terms": dict.fromkeys(range(DIMENSION), 1)},
    {"k": 5, "terms": dict.fromkeys(range(DIMENSION), 1)},
    {"k": 100, "terms": {column: 0.1 + (column * 7 % 11) / 8 for column in range(0, DIMENSION, 2)}},
    {"k": 10, "terms": {3: 2.5, 17: 0.3, 31: 1.7, 44: 0.0125, 59: 1.1}},
    {"k": 10, "terms": {12: 3}},
    {"k": 10, "terms": {}},
]
"""Term weights by column, and how many documents are asked for."""


def holdings(store: Store) -> list[dict[str, Any]]:
    """Every living document in the order of its sequence number, with all that the index keeps of it."""
    snapshot = store.snapshot
    found = []
    for number, segment in enumerate(snapshot.segments):
        for place in range(segment.documents):
            if snapshot.is_dead(number, place):
                continue
            columns, impacts, lexical = snapshot.vector(number, place)
            surfaces = snapshot.surfaces(number, place)
            document = {
                "sequence": int(segment.document_sequence[place]),
                "id": snapshot.id(number, place),
                "stored": json.loads(snapshot.stored(number, place)),
                "hash": snapshot.content_hash(number, place).hex(),
                "columns": columns.tolist(),
                "impacts": impacts.tolist(),
                "lexical": None if lexical is None else lexical.tolist(),
                "surfaces": {str(column): form for column, form in sorted(surfaces.items())},
                "fields": {name: column.value(place) for name, column in sorted(segment.fields.items())},
            }
            found.append(document)
    return sorted(found, key=lambda document: document["sequence"])


def frequencies(store: Store) -> list[int]:
    """In how many documents' texts each column occurs."""
    return store.snapshot.document_frequencies(np.arange(DIMENSION, dtype=np.int32)).tolist()


def rank(store: Store, query: dict[str, Any]) -> list[tuple[str, float]]:
    """Ids and scores, the best first, by the engine."""
    columns = np.array(sorted(map(int, query["terms"])), np.int32)
    weights = np.array([query["terms"][key] for key in sorted(query["terms"], key=int)], np.float64)
    asked = quantise_query(columns, weights, store.settings.quantize)
    ranking = search(store.snapshot, asked, query["k"])
    places = zip(ranking.segments, ranking.documents, ranking.scores, strict=True)
    return [(store.snapshot.id(int(s), int(d)), float(score)) for s, d, score in places]


def rank_by_hand(store: Store, query: dict[str, Any]) -> list[tuple[str, float]]:
    """The same by exact arithmetic over what `holdings` lists, without the engine."""
    quantize = store.settings.quantize
    largest = {"u8": 255, "u16": 65_535}.get(quantize)
    terms = {int(column): Fraction(weight) for column, weight in query["terms"].items()}
    step = Fraction(1)
    if largest is None:
        terms = {column: Fraction(float(np.float32(float(weight)))) for column, weight in terms.items()}
    elif terms and not all(weight.denominator == 1 and weight <= largest for weight in terms.values()):
        step = max(terms.values()) / largest
        terms = {column: max(Fraction(round(weight / step)), Fraction(1)) for column, weight in terms.items()}
    scale = step * Fraction(store.settings.scale or 1)
    scored = []
    for document in holdings(store):
        pairs = zip(document["columns"], document["impacts"], strict=True)
        total = sum((terms[c] * Fraction(impact) for c, impact in pairs if c in terms), Fraction(0))
        if total:
            scored.append((-total, document["sequence"], document["id"], float(total * scale)))
    return [(id, score) for _, _, id, score in sorted(scored)[: query["k"]]]
