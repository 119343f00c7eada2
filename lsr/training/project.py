"""`lsr train project`: a dense encoder and unlabelled text to an inference-free sparse model.

Counts stems, embeds short texts with the teacher, fits the rows in closed form, fixes the scale, converts
the teacher to ONNX and writes a model folder with its card. Constants that need no fitting come from the
recipe.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder import write_folder
from lsr.encoders.loading import load_encoder
from lsr.encoders.queries import LookupQueries
from lsr.errors import InputError, InputFileError
from lsr.progress import say
from lsr.settings import measure_largest_weight
from lsr.training.card import write_card
from lsr.training.export import export_body
from lsr.training.recipe import Lexical, ProjectRecipe
from lsr.training.rows import fit_rows, kept_variance, prior_rows, query_matrix, to_int8
from lsr.training.teachers.dense import DenseTeacher
from lsr.training.texts import Licences, TextSource
from lsr.training.vocabulary import TermCounts, Vocabulary, choose_vocabulary


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training run made.

    Attributes:
        path: The model folder.
        name: The model's name.
        stems: Size of the vocabulary.
        texts: Short texts that the rows were fitted on.
        r_squared: Share of the variance of the query embeddings that the rows explain.
    """

    path: str
    name: str
    stems: int
    texts: int
    r_squared: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What was fitted: rows float32 [stems, width], the document mean [width], scale of the projection."""

    rows: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: float
    texts: int
    r_squared: float


def open_source(recipe: ProjectRecipe, data_dir: Path) -> TextSource:
    """The recipe's text, with its licence table.

    Raises:
        InputFileError: The data folder or one of the sets is not there.
    """
    for folder in {*recipe.corpora, *recipe.queries, *recipe.titles}:
        if not (data_dir / folder).is_dir():
            raise InputFileError(
                f"The recipe needs the data set {folder!r}, and {data_dir / folder} is not there; name the "
                "folder of the data sets with --data-dir or LSR_DATA."
            )
    licences = Licences.read(data_dir / recipe.licences) if recipe.licences else None
    return TextSource(data_dir, licences, recipe.experiment)


def train_project(recipe: ProjectRecipe, data_dir: Path, output: Path) -> TrainReport:
    """Run the recipe.

    Args:
        recipe: What to do.
        data_dir: Folder of the BEIR folders that it names.
        output: Model folder to write; the companion lies beside it under its own name.

    Raises:
        InputError: No text is left after the licences, or the output folder is not empty.
    """
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty; name a new folder with --output.")
    source = open_source(recipe, data_dir)
    counts = TermCounts()
    say("Counting the stems of the passages")
    counts.count(_passages(recipe, source))
    if not counts.documents:
        raise InputError("No passage is left to count; look at the recipe's corpora and its licence table.")
    vocabulary = choose_vocabulary(counts, recipe.vocabulary)
    short = short_texts(recipe, source)
    teacher = DenseTeacher(recipe.teacher)
    queries = make_queries(recipe, vocabulary, _read_pieces(teacher))
    fit = _fit(recipe, source, vocabulary, queries, short, teacher)
    output.mkdir(parents=True, exist_ok=True)
    _write_projected(output, recipe, queries, fit, teacher)
    write_card(output, recipe, source, fit.r_squared, counts)
    if recipe.companion:
        _write_companion(output.parent / recipe.companion, recipe, vocabulary)
    return TrainReport(str(output), recipe.name, len(vocabulary.stems), fit.texts, round(fit.r_squared, 4))


def short_texts(recipe: ProjectRecipe, source: TextSource) -> list[str]:
    """Queries and titles, distinct, shuffled, at most `recipe.texts`; no title of a dev part."""
    found: dict[str, None] = {}
    for folder in recipe.queries:
        found.update(dict.fromkeys(text for _, text in source.queries(folder)))
    held_out: set[str] = set()
    for folder in recipe.titles:
        for _, title, _ in source.passages(folder):
            if title:
                found[title] = None
        held_out |= source.dev_titles(folder)
    texts = [text for text in found if text not in held_out]
    if not texts:
        raise InputError("No query or title is left to fit on; look at the recipe and its licence table.")
    random.Random(recipe.seed).shuffle(texts)
    return texts[: recipe.texts]


def make_queries(recipe: ProjectRecipe, vocabulary: Vocabulary, pieces: list[str]) -> LookupQueries:
    """The query side: pieces are as rare as an unknown word until an index says otherwise."""
    open_share = 0.5 / vocabulary.documents
    shares = np.concatenate([vocabulary.shares, np.full(len(pieces), open_share, np.float32)])
    return LookupQueries(
        vocabulary.stems,
        pieces,
        shares=shares.astype(np.float32),
        open_share=open_share,
        prior_documents=recipe.prior_documents,
        documents=vocabulary.documents,
        fingerprint="",
    )


def _passages(recipe: ProjectRecipe, source: TextSource) -> Iterator[str]:
    for folder in recipe.corpora:
        for _, title, text in source.passages(folder):
            yield f"{title} {text}" if title else text


def _read_pieces(teacher: DenseTeacher) -> list[str]:
    from lsr.encoders.onnx import load_tokenizer

    table = load_tokenizer(teacher.tokenizer_file).get_vocab()
    return sorted(table, key=lambda piece: table[piece])


def _fit(
    recipe: ProjectRecipe,
    source: TextSource,
    vocabulary: Vocabulary,
    queries: LookupQueries,
    short: list[str],
    teacher: DenseTeacher,
) -> Fit:
    matrix = query_matrix(short, queries)
    targets = teacher.embed(short, max_length=64, label="Embedding queries and titles")
    targets = targets - targets.mean(0)
    forms = teacher.embed(vocabulary.forms, max_length=16, label="Embedding single words")
    say("Fitting the rows")
    prior = prior_rows(forms, recipe.prior_weight)
    rows = fit_rows(matrix, targets, prior, ridge=recipe.ridge, steps=recipe.steps)
    sample = _sample_passages(recipe, source)
    embedded = teacher.embed(sample, max_length=recipe.max_length, label="Embedding sample passages")
    mean = embedded.mean(0)
    scale = 1 / last_term(embedded - mean, rows, recipe.terms)
    return Fit(rows, mean, scale, len(short), kept_variance(matrix, targets, rows))


def _sample_passages(recipe: ProjectRecipe, source: TextSource) -> list[str]:
    """A sample spread over the corpora, the same number from each, by a seeded reservoir."""
    each = max(recipe.sample // max(len(recipe.corpora), 1), 1)
    chosen: list[str] = []
    for folder in recipe.corpora:
        rng = random.Random(recipe.seed)
        kept: list[str] = []
        for seen, (_, title, text) in enumerate(source.passages(folder)):
            whole = f"{title} {text}" if title else text
            if len(kept) < each:
                kept.append(whole)
            elif (place := rng.randrange(seen + 1)) < each:
                kept[place] = whole
        chosen += kept
    return chosen


def last_term(centred: NDArray[np.float32], rows: NDArray[np.float32], terms: int) -> float:
    """Average projection of the last expansion term; the scale makes it 1."""
    count = min(terms, len(rows))
    values = [
        np.partition(centred[i : i + 256] @ rows.T, -count, axis=1)[:, -count]
        for i in range(0, len(centred), 256)
    ]
    return max(float(np.concatenate(values).clip(0).mean()), 1e-6)


def write_lookup(path: Path, queries: LookupQueries) -> list[str]:
    """Write the query side's lists and table into a model folder; the names of the files."""
    (path / "stems.txt").write_text("\n".join(queries.stems), encoding="utf-8")
    np.save(path / "shares.npy", queries.shares)
    names = ["stems.txt", "shares.npy"]
    if queries.pieces:
        (path / "pieces.txt").write_text("\n".join(queries.pieces), encoding="utf-8")
        names.append("pieces.txt")
    return names


def _settings(kind: str, name: str, lexical: Lexical, queries: LookupQueries) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "query_weights": "corpus",
        "max_document_weight": lexical.k1 + 1,
        "lexical": asdict(lexical),
        "queries": {
            "open_share": queries.open_share,
            "prior_documents": queries.prior_documents,
            "documents": queries.documents,
        },
    }


def _write_projected(
    path: Path, recipe: ProjectRecipe, queries: LookupQueries, fit: Fit, teacher: DenseTeacher
) -> None:
    integers, scales = to_int8(fit.rows * np.float32(fit.scale))
    np.save(path / "rows.npy", integers)
    np.save(path / "row_scales.npy", scales)
    np.save(path / "mean.npy", fit.mean.astype(np.float32))
    shutil.copyfile(teacher.tokenizer_file, path / "tokenizer.json")
    say("Converting the body to ONNX int8")
    export_body(teacher.model, path / "body.onnx", heads=teacher.heads, width=teacher.width)
    names = [
        *write_lookup(path, queries),
        "rows.npy",
        "row_scales.npy",
        "mean.npy",
        "tokenizer.json",
        "body.onnx",
    ]
    settings = {
        **_settings("projected", recipe.name, recipe.lexical, queries),
        "body": {"width": teacher.width, "max_length": recipe.max_length},
        "projection": {
            "terms": recipe.terms,
            "budget": recipe.budget,
            "gain": recipe.gain,
            "own_gain": recipe.own_gain,
        },
    }
    write_folder(path, settings, names)
    settings["max_document_weight"] = round(measure_largest_weight(load_encoder(path)), 2)
    write_folder(path, settings, names)


def _write_companion(path: Path, recipe: ProjectRecipe, vocabulary: Vocabulary) -> None:
    """The lexical part alone: no word pieces, no prior, so that its queries are plain BM25."""
    path.mkdir(parents=True, exist_ok=True)
    queries = make_queries(replace(recipe, prior_documents=0.0), vocabulary, [])
    names = write_lookup(path, queries)
    settings = _settings("lexical", str(recipe.companion), recipe.companion_lexical, queries)
    write_folder(path, settings, names)
