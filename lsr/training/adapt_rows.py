"""A projected model's rows fitted again on the pseudo-queries of a corpus, in closed form.

The rows begin where they were: the ridge regression of `lsr.training.rows` with the model's own rows for a
prior, and a ridge that holds them fast: sentences are no questions, and rows that explain sentences best are
worse for search. The document mean and the scale become the corpus's own. Frequent stems that the model does
not know can get a row; their words then have no word pieces any more. The body is the model's own and stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.folder import ModelFolder, read_folder, write_folder
from lsr.encoders.lexical import read_queries
from lsr.encoders.loading import load_encoder
from lsr.encoders.projected import ProjectedEncoder
from lsr.encoders.queries import LookupQueries
from lsr.errors import InputError, InputFileError
from lsr.progress import say
from lsr.settings import measure_largest_weight
from lsr.training.card_adapt import write_adapt_card
from lsr.training.collection import Collection
from lsr.training.dev import ndcg_of
from lsr.training.project import last_term, write_lookup
from lsr.training.recipe_distil import AdaptRecipe
from lsr.training.rows import fit_rows, kept_variance, prior_rows, query_matrix, to_int8
from lsr.training.teachers.cache import Arrays, shards
from lsr.training.texts import TextSource, is_dev
from lsr.training.vocabulary import TermCounts, choose_vocabulary

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PRIOR_WEIGHT = 0.49
_ANCHORS = 2_000
"""Known stems that say where the middle of single words lies."""


@dataclass(frozen=True)
class RowsReport:
    """What was fitted.

    Attributes:
        stems_added: Stems that the model did not know.
        r_squared_before: Share of the variance of held-out pseudo-queries that the old rows explain.
        r_squared: The same for the new ones.
        dev_before: NDCG@10 of held-out titles that look for their passages; None without titles.
        dev_after: The same for the new model.
    """

    stems_added: int
    r_squared_before: float
    r_squared: float
    dev_before: float | None = None
    dev_after: float | None = None


def read_short_texts(file: Path, *, least: int = 0) -> list[str]:
    """A text file, one short text a line, without empty lines and repeats.

    Raises:
        InputFileError: No such file.
        InputError: Fewer texts than `least`.
    """
    if not file.is_file():
        raise InputFileError(f"short_texts names {file}, and there is no such file.")
    texts = list(dict.fromkeys(line.strip() for line in file.read_text(encoding="utf-8").splitlines()))
    found = [text for text in texts if text]
    if len(found) < least:
        raise InputError(f"{file} holds no text; write one short text a line.")
    return found


def adapt_rows(
    recipe: AdaptRecipe,
    path: Path,
    collection: Collection,
    source: TextSource,
    output: Path,
    extra: Sequence[str] = (),
) -> RowsReport:
    """Fit the rows again and write the new model's folder.

    Args:
        recipe: What was asked for.
        path: The projected model to begin with.
        collection: The corpus with its pseudo-queries.
        source: What was read, for the card.
        output: The folder to make.
        extra: Further short texts that the rows are fitted on.

    Raises:
        InputError: Too few pseudo-queries.
    """
    folder = read_folder(path)
    encoder = ProjectedEncoder(folder)
    old = np.ascontiguousarray(encoder.rows.T) / np.float32(encoder.constants.gain)
    say("Counting the stems of the corpus")
    queries, forms = widen(recipe, read_queries(folder), collection.documents)
    texts = [*collection.queries, *extra]
    held = np.array([is_dev(text) for text in texts])
    if held.sum() < 2 or (~held).sum() < 2:
        raise InputError(
            f"{len(texts)} pseudo-queries are too few to fit on; let sentences serve too (sentences_each)."
        )
    targets = _embed(encoder, texts, 64, "Embedding pseudo-queries")
    targets = targets - targets.mean(0)
    matrix = query_matrix(texts, queries)
    start = _start(encoder, old, matrix, targets, queries, forms)
    say("Fitting the rows")
    before, after = _held_out(recipe, matrix, targets, start, held)
    rows = fit_rows(matrix, targets, start, ridge=recipe.ridge, steps=recipe.steps)
    rng = np.random.default_rng(recipe.seed)
    count = min(recipe.sample, len(collection.documents))
    sample = [collection.documents[i] for i in sorted(rng.choice(len(collection.documents), count, False))]
    embedded = _embed(encoder, sample, encoder.max_length, "Embedding sample passages")
    mean = embedded.mean(0)
    scale = np.float32(1 / last_term(embedded - mean, rows, encoder.constants.terms))
    _write(output, recipe, folder, queries, rows * scale, mean)
    report = RowsReport(
        len(forms),
        round(before, 4),
        round(after, 4),
        _known_item(load_encoder(path), collection),
        _known_item(load_encoder(output), collection),
    )
    write_adapt_card(output, recipe, folder, source, collection, report, len(extra))
    return report


def widen(
    recipe: AdaptRecipe, old: LookupQueries, documents: Sequence[str]
) -> tuple[LookupQueries, list[str]]:
    """The query side with the corpus's frequent stems, and both corpora's counts in its table.

    Returns:
        The query side; and the commonest word of each new stem.
    """
    counts = TermCounts()
    counts.count(documents)
    seen = choose_vocabulary(counts, len(counts.stem_frequencies))
    known = old.stem_columns
    new = [
        i
        for i, stem in enumerate(seen.stems)
        if stem not in known and counts.stem_frequencies[stem] >= recipe.least
    ][: recipe.vocabulary]
    stems = [*old.stems, *(seen.stems[i] for i in new)]
    total = old.documents + counts.documents
    shares = np.asarray(old.shares, np.float64)
    split = len(old.stems)
    former = np.concatenate([shares[:split], np.full(len(new), old.open_share), shares[split:]])
    held = np.zeros(len(former))
    held[: len(stems)] = [counts.stem_frequencies[stem] for stem in stems]
    both = (former * old.documents + held) / total
    queries = LookupQueries(
        stems,
        old.pieces,
        shares=both.astype(np.float32),
        open_share=old.open_share * old.documents / total,
        prior_documents=old.prior_documents,
        documents=total,
        fingerprint="",
    )
    return queries, [seen.forms[i] for i in new]


def _start(
    encoder: ProjectedEncoder,
    old: NDArray[np.float32],
    matrix: csr_array,
    targets: NDArray[np.float32],
    queries: LookupQueries,
    forms: list[str],
) -> NDArray[np.float32]:
    """Where the rows begin, in the units of embeddings: the old ones, and new stems' own words.

    A folder's rows carry a scale that it does not state. The rows of a ridge regression lie where
    <XR, T> = <XR, XR> on average, so that the scale is the ratio of the two.
    """
    known = matrix[:, : len(old)] @ old
    fitted = float((known * targets).sum())
    scale = float((known * known).sum()) / fitted if fitted > 0 else 1.0
    begun = np.asarray(old / np.float32(scale), np.float32)
    if not forms:
        return begun
    anchors = [str(stem) for stem in queries.stems[: min(_ANCHORS, len(old))]]
    vectors = _embed(encoder, [*forms, *anchors], 16, "Embedding single words")
    return np.concatenate([begun, prior_rows(vectors, _PRIOR_WEIGHT)[: len(forms)]])


def _held_out(
    recipe: AdaptRecipe,
    matrix: csr_array,
    targets: NDArray[np.float32],
    start: NDArray[np.float32],
    held: NDArray[np.bool_],
) -> tuple[float, float]:
    """R squared of held-out texts, with the old rows and with rows fitted on the others."""
    fitted, out = np.flatnonzero(~held), np.flatnonzero(held)
    rows = fit_rows(matrix[fitted], targets[fitted], start, ridge=recipe.ridge, steps=recipe.steps)
    before = kept_variance(matrix[out], targets[out], start)
    return before, kept_variance(matrix[out], targets[out], rows)


def _embed(encoder: ProjectedEncoder, texts: Sequence[str], length: int, label: str) -> NDArray[np.float32]:
    """Unit-length embeddings by the model's own body, kept in the cache in blocks."""

    def compute(block: list[str]) -> Arrays:
        return {"vectors": encoder.body.embed(block, max_length=length).vectors.astype(np.float16)}

    head = f"body {encoder.fingerprint} {length}"
    parts = [a["vectors"] for a in shards("bodies", head, texts, compute, block=1024, label=label)]
    if not parts:
        return np.empty((0, encoder.width), np.float32)
    return np.concatenate(parts).astype(np.float32)


def _known_item(encoder: Any, collection: Collection) -> float | None:
    """NDCG@10 of held-out titles that look for their passages, queries weighed as an index would."""
    dev = collection.dev
    if dev is None:
        return None
    from lsr.training.teachers.sparse import SparseTeacher

    texts = [collection.documents[i] for i in dev.documents]
    teacher = SparseTeacher(encoder)
    teacher.prepare(texts, dev.queries)
    return round(ndcg_of(teacher.pairs.queries, teacher.pairs.documents, dev), 4)


def _write(
    output: Path,
    recipe: AdaptRecipe,
    folder: ModelFolder,
    queries: LookupQueries,
    rows: NDArray[np.float32],
    mean: NDArray[np.float32],
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    integers, scales = to_int8(rows)
    np.save(output / "rows.npy", integers)
    np.save(output / "row_scales.npy", scales)
    np.save(output / "mean.npy", mean.astype(np.float32))
    for name in ("tokenizer.json", "body.onnx"):
        shutil.copyfile(folder.path / name, output / name)
    names = [
        *write_lookup(output, queries),
        "rows.npy",
        "row_scales.npy",
        "mean.npy",
        "tokenizer.json",
        "body.onnx",
    ]
    settings = {k: v for k, v in folder.settings.items() if k not in ("files", "format", "analysis")}
    settings["name"] = recipe.name
    settings["queries"] = {
        "open_share": queries.open_share,
        "prior_documents": queries.prior_documents,
        "documents": queries.documents,
    }
    write_folder(output, settings, names)
    settings["max_document_weight"] = round(measure_largest_weight(load_encoder(output)), 2)
    write_folder(output, settings, names)
