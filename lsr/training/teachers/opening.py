"""From a recipe's teachers to teachers."""

from __future__ import annotations

from pathlib import Path

from lsr.errors import InputError
from lsr.training.collection import Collection
from lsr.training.ensemble import Ensemble
from lsr.training.recipe_check import scores_file
from lsr.training.recipe_distil import DistilRecipe, TeacherRecipe
from lsr.training.teachers.base import Teacher

_LENGTH = 256
"""Word pieces that a dense or cross-encoding teacher reads where the recipe says nothing."""


def open_ensemble(recipe: DistilRecipe, collection: Collection, data_dir: Path) -> Ensemble:
    """All teachers of a stage as one, with its texts.

    Args:
        recipe: The stage.
        collection: Its texts; the teachers' work on them is kept in the cache.
        data_dir: What paths of stored scores are relative to.

    Raises:
        InputError: There is no teacher, or one of them cannot be used.
        MissingExtraError: A teacher needs a package that is not installed.
    """
    teachers = [open_teacher(teacher, collection, data_dir) for teacher in recipe.teachers]
    ensemble = Ensemble(
        teachers,
        [teacher.weight for teacher in recipe.teachers],
        normalisation=recipe.ensemble.normalisation,
        scale=recipe.ensemble.scale,
    )
    ensemble.prepare(collection.documents, collection.queries)
    return ensemble


def open_teacher(recipe: TeacherRecipe, collection: Collection, data_dir: Path) -> Teacher:
    """One teacher, without its texts."""
    if recipe.kind == "lexical":
        from lsr.training.teachers.lexical import LexicalTeacher

        return LexicalTeacher(recipe.analysis, model=recipe.model or None, k1=recipe.k1, b=recipe.b)
    if recipe.kind == "stored":
        from lsr.training.teachers.stored import StoredTeacher

        ids = {"query_ids": collection.query_ids, "document_ids": collection.document_ids}
        return StoredTeacher(scores_file(recipe, data_dir), **ids)
    if not recipe.model:
        raise InputError(f"A {recipe.kind} teacher needs its model; name a folder under model.")
    if recipe.kind == "dense":
        from lsr.training.teachers.dense import DenseTeacher

        return DenseTeacher(recipe.model, max_length=recipe.max_length or _LENGTH)
    if recipe.kind == "sparse":
        from lsr.training.teachers.sparse import SparseTeacher

        return SparseTeacher(recipe.model, max_length=recipe.max_length)
    from lsr.training.teachers.cross_encoder import CrossEncoderTeacher

    return CrossEncoderTeacher(recipe.model, max_length=recipe.max_length or _LENGTH)
