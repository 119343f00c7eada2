"""What a recipe of gradient training needs, looked at before anything is loaded.

Types and keys were checked when it was read (`lsr.training.recipe_read`). Here: models, data sets and files
that are not there, losses without the teachers or positives that they need, and numbers that make no run.
"""

from __future__ import annotations

from pathlib import Path

from lsr.encoders.folder import is_model_folder, read_folder
from lsr.encoders.loading import bundled_models, resolve_name
from lsr.errors import InputError, InputFileError
from lsr.training.collection import open_data
from lsr.training.recipe import stages_of
from lsr.training.recipe_distil import DistilRecipe, StudentRecipe, TeacherRecipe
from lsr.training.teachers.dense_folder import find_teacher
from lsr.training.texts import TextSource

LIST_LOSSES, POOL_LOSSES = ("kl", "margin-mse", "info-nce"), ("pool-documents", "pool-queries")
MASKED, CAUSAL = ("mlm", "bow"), ("clm", "clm-relu")


def check_recipe(recipe: DistilRecipe, data_dir: Path, *, dry: bool = False) -> TextSource:
    """Everything that can be known without loading a model or reading text.

    Args:
        recipe: The recipe with its stages.
        data_dir: Folder of the data sets.
        dry: Whether models may be absent whose architecture the recipe states.

    Returns:
        The first stage's text, opened.

    Raises:
        InputFileError: A model, a data set or a file is not there.
        InputError: Parts that do not fit each other.
    """
    sources = []
    _check_student(recipe.student, dry=dry)
    for stage in stages_of(recipe):
        sources.append(open_data(stage.data, data_dir))
        _check_losses(stage)
        _check_numbers(stage)
        for teacher in stage.teachers:
            _check_teacher(teacher, data_dir)
    return sources[0]


def _check_student(student: StudentRecipe, *, dry: bool) -> None:
    if not student.model and student.architecture is None:
        raise InputError("The recipe names no model to train; give a folder with student.model.")
    if student.architecture is not None and "model_type" not in student.architecture:
        raise InputError("student.architecture needs a model_type, such as bert or llama.")
    if student.lora is not None and student.kind != "decoder":
        raise InputError("student.lora goes with students of the kind decoder.")
    if student.kind == "projected":
        _check_projected(student)
        return
    if dry and student.architecture is not None:
        return
    if student.architecture is not None and not (student.tokenizer or student.model):
        raise InputError("A student with student.architecture needs the folder of a student.tokenizer.")
    named = (student.tokenizer or student.model) if student.architecture is not None else student.model
    for name in {named, student.tokenizer} - {None, ""}:
        _find(str(name), "student.model" if name == student.model else "student.tokenizer")
    if student.idf not in ("corpus", "ones"):
        _find(student.idf, "student.idf")


def _check_projected(student: StudentRecipe) -> None:
    path = bundled_models().get(resolve_name(student.model), Path(student.model))
    if not is_model_folder(path) or read_folder(path).settings.get("kind") != "projected":
        raise InputFileError(
            f"student.model names {student.model!r}, and that is no projected model; give a bundled name or "
            "a folder that lsr train project made."
        )
    if not student.body:
        raise InputError(
            "A projected student needs student.body, the dense model that it was projected from."
        )
    _find(student.body, "student.body")


def _find(name: str, key: str) -> None:
    if name.startswith("hf:") or Path(name).is_dir():
        return
    try:
        find_teacher(name)
    except InputFileError:
        raise InputFileError(
            f"{key} names {name!r}, and there is neither such a folder nor a package that carries a model of "
            "that name; give a folder, or hf:org/name."
        ) from None


def _check_losses(stage: DistilRecipe) -> None:
    allowed: tuple[str, ...] = (*LIST_LOSSES, *POOL_LOSSES)
    if stage.kind == "pretrain":
        allowed = CAUSAL if stage.student.kind == "decoder" else MASKED
    if unknown := sorted(set(stage.loss) - set(allowed)):
        raise InputError(
            f"loss: there is no {unknown[0]!r} for this kind of recipe and student; there are "
            f"{', '.join(allowed)}."
        )
    if any(weight < 0 for weight in stage.loss.values()) or not any(stage.loss.values()):
        raise InputError("loss: weights from 0 up are wanted, one of them above 0.")
    if stage.kind == "pretrain":
        return
    wanted = {name for name, weight in stage.loss.items() if weight}
    if wanted - {"info-nce"} and not stage.teachers:
        raise InputError(
            f"loss: {min(wanted - {'info-nce'})} learns from teachers, and the recipe names none; add "
            "teachers, or use info-nce alone."
        )
    if wanted & set(POOL_LOSSES) and stage.optimiser.pool < 1:
        raise InputError("loss: a pool loss needs optimiser.pool, the number of further queries of a step.")
    if not stage.teachers and not stage.optimiser.in_batch:
        raise InputError(
            "Without teachers there are no negatives but those of the batch; set in_batch: true."
        )


def _check_numbers(stage: DistilRecipe) -> None:
    options = stage.optimiser
    for name in ("steps", "batch", "micro_batch", "candidates"):
        if getattr(options, name) < 1:
            raise InputError(f"optimiser.{name}: a number of at least 1 is wanted.")
    if stage.kind == "distil" and options.candidates < 2 and not options.in_batch:
        raise InputError("optimiser.candidates: a query needs at least 2 documents, or in_batch: true.")
    if options.lr <= 0:
        raise InputError("optimiser.lr: a number above 0 is wanted.")
    if stage.temperature <= 0:
        raise InputError("temperature: a number above 0 is wanted.")
    if not 0 < stage.mask < 1:
        raise InputError("mask: a share between 0 and 1 is wanted.")
    for side in (stage.regulariser.document, stage.regulariser.query):
        if side is not None and side.keep is not None and side.keep < 1:
            raise InputError("regulariser: keep: a number of at least 1 is wanted, or null.")


def _check_teacher(teacher: TeacherRecipe, data_dir: Path) -> None:
    if teacher.weight <= 0:
        raise InputError(f"A {teacher.kind} teacher has the weight {teacher.weight}; give one above 0.")
    if teacher.kind == "stored":
        if not teacher.path:
            raise InputError("A stored teacher needs the path of its file of scores.")
        if not scores_file(teacher, data_dir).is_file():
            raise InputFileError(f"The stored teacher's file {scores_file(teacher, data_dir)} is not there.")
    elif teacher.kind in ("dense", "sparse", "cross-encoder"):
        if not teacher.model:
            raise InputError(f"A {teacher.kind} teacher needs a model: a folder, or a package's name.")
        if teacher.kind != "sparse" or resolve_name(teacher.model) not in bundled_models():
            _find(teacher.model, f"The {teacher.kind} teacher")


def scores_file(teacher: TeacherRecipe, data_dir: Path) -> Path:
    """Where a stored teacher's scores lie: as given, or in the folder of the data sets."""
    path = Path(teacher.path)
    return path if path.is_absolute() or path.is_file() else data_dir / path
