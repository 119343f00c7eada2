"""From a recipe's `student:` to a module that trains.

The kinds: `symmetric` (one masked language model for both sides), `splade-doc` (queries are sets of word
pieces, weight 1), `idf` (a fixed table of inverse document frequencies), `table` (a learned, non-negative
one), `decoder` (a causal language model), `projected` (a dense body read through rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from lsr.encoders.sparse_folder import TableSide, read_sparse_folder
from lsr.errors import InputError
from lsr.training.recipe_distil import StudentRecipe
from lsr.training.student_base import Role, Student, Tokens
from lsr.training.student_init import SAMPLE, Start, find_model, masked_start, set_dropout
from lsr.training.student_masked import MaskedStudent
from lsr.training.student_tables import QueryTable, make_table, piece_idf, table_start

__all__ = ["Role", "Student", "Tokens", "build_student"]


def build_student(
    recipe: StudentRecipe,
    *,
    documents: Iterable[str] = (),
    idf: NDArray[np.float32] | None = None,
) -> Student:
    """The student that a recipe describes, in float32 on the CPU and in evaluation mode.

    Args:
        recipe: The student.
        documents: Texts of the collection: the idf of pieces is counted on all of them where it is needed,
            and the head of a dense encoder is set by the first 256. Nothing else of them is read.
        idf: float32 [V], where it is known already.

    Raises:
        InputFileError: No such model.
        InputError: A model that cannot be loaded, or text is needed and there is none.
        UnsupportedError: A model whose head is of another kind.
        MissingExtraError: peft or transformers is not installed.
    """
    if recipe.kind == "decoder":
        from lsr.training.student_decoder import build_decoder

        decoder: Student = build_decoder(recipe)
        decoder.eval()
        return decoder
    if recipe.kind == "projected":
        from lsr.training.student_projected import build_projected

        return build_projected(
            recipe.model,
            recipe.body,
            train_body=recipe.train_body,
            max_length=recipe.max_length,
            dropout=recipe.dropout,
        )
    stream = iter(documents)
    sample: Sequence[str] = list(islice(stream, SAMPLE)) if recipe.init == "dense" else []
    start = masked_start(recipe, sample)
    student = MaskedStudent(
        start.model,
        start.tokenizer,
        start.tokeniser,
        kind=recipe.kind,
        table=_table(recipe, start, chain(sample, stream), idf),
        activation=recipe.activation,
        query_length=recipe.query_max_length,
        settings=start.settings,
    )
    if recipe.dropout is not None:
        set_dropout(student.model, recipe.dropout)
    student.eval()
    return student


def _table(
    recipe: StudentRecipe, start: Start, documents: Iterable[str], idf: NDArray[np.float32] | None
) -> QueryTable | None:
    if recipe.kind == "symmetric":
        return None
    embeddings = start.model.get_input_embeddings().weight
    dimension = len(start.model.get_output_embeddings().weight)
    dead = start.tokeniser.special_ids
    if recipe.kind == "splade-doc":
        return make_table(np.ones(dimension, np.float32), dead)
    begin, own = "idf", start.table
    if idf is None and recipe.idf == "corpus":
        idf = piece_idf(documents, start.tokeniser, dimension)
    elif idf is None and recipe.idf == "ones":
        begin = "ones"
    elif idf is None:
        begin, own = "own", _table_of(recipe.idf)
    weights = table_start(begin, dimension, idf=idf, own=own)
    if recipe.kind == "idf":
        return make_table(weights, dead)
    return make_table(weights, dead, form=recipe.table, embeddings=embeddings)


def _table_of(name: str) -> NDArray[np.float32]:
    """The query table of a folder."""
    side = read_sparse_folder(find_model(name)).query
    if not isinstance(side, TableSide):
        raise InputError(f"{name} reads queries by a model; name a folder with a query table for `idf:`.")
    return side.weights
