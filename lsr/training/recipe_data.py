"""The parts of a recipe that say which text is read: training data and the dev part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataRecipe:
    """What `lsr.training.collection.read_collection` reads.

    Attributes:
        corpora: BEIR folders whose passages are the documents.
        queries: BEIR folders whose queries are trained on; their judgements give positives where the
            judged passages are among the documents.
        titles: BEIR folders whose titles serve as queries for their own passages.
        sentences: BEIR folders of which sentences serve as queries for their own passages.
        sentences_each: Sentences taken of each passage.
        split: The judgements that give positives: `qrels/SPLIT.tsv`.
        keep_titles: Whether documents begin with their titles.
        documents: Upper bound of the documents; 0 for all. Documents with a positive come first.
        most_queries: Upper bound of the queries; 0 for all.
        licences: A licence table, relative to the data folder; None takes all text.
        experiment: Take text that the table refuses, and write that into the card.
        seed: Which documents, queries and sentences are taken.
    """

    corpora: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    sentences_each: int = 1
    split: str = "train"
    keep_titles: bool = True
    documents: int = 0
    most_queries: int = 0
    licences: str | None = None
    experiment: bool = False
    seed: int = 1


@dataclass(frozen=True)
class DevRecipe:
    """What is held out, and how often it is measured.

    Attributes:
        queries: Upper bound of held-out queries; 0 measures nothing.
        documents: Upper bound of documents that they are searched in; all positives are among them.
        every: Optimiser steps between two measurements; 0 for the end alone.
    """

    queries: int = 300
    documents: int = 10_000
    every: int = 500
