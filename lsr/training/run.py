"""`lsr train` for recipes of gradient training: from a recipe to a model folder with its card.

Beside the folder OUTPUT lies OUTPUT.run while the run lasts and after it: the recipe, checkpoints, the log
and its plot. OUTPUT itself appears at the end. A run that was killed goes on with `--resume`.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsr.errors import InputError
from lsr.progress import say
from lsr.training.collection import Candidates, Collection, open_data, read_collection
from lsr.training.finish import finish
from lsr.training.labels import Labels
from lsr.training.processes import Processes
from lsr.training.recipe import stages_of
from lsr.training.recipe_check import check_recipe
from lsr.training.recipe_distil import DistilRecipe
from lsr.training.step import GradCache
from lsr.training.student_base import Student
from lsr.training.students import build_student
from lsr.training.tasks import Distillation, Pretraining
from lsr.training.texts import TextSource
from lsr.training.trainer import StageReport, Task, Trainer


@dataclass(frozen=True)
class DistilReport:
    """What a run made.

    Attributes:
        name: The model's name.
        path: Its folder.
        work: The folder of checkpoints, log and plot.
        parameters: Of the student.
        stages: What each stage did.
        dev_ndcg_at_10: On the last stage's dev part; None without one.
        document_terms: Terms of a document on average, at the end of training.
        query_terms: Terms of a query.
        flops: Terms that a query and a document share on average.
        exported: What the exports lose, by arithmetic; empty where the model is not exported.
        alarms: Everything that was warned of.
    """

    name: str
    path: str
    work: str
    parameters: int
    stages: tuple[StageReport, ...]
    dev_ndcg_at_10: float | None
    document_terms: float | None
    query_terms: float | None
    flops: float | None
    exported: dict[str, dict[str, float]] = field(default_factory=dict)
    alarms: tuple[tuple[int, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def train(
    recipe: DistilRecipe,
    data_dir: Path,
    output: Path,
    *,
    resume: bool = False,
    device: str = "auto",
) -> DistilReport | None:
    """Run a recipe of the kind `distil` or `pretrain`.

    Args:
        recipe: What to do.
        data_dir: Folder of the BEIR folders that it names.
        output: Model folder to write.
        resume: Go on where a killed run stopped; without anything to go on from, begin.
        device: `"auto"`, `"cpu"` or `"cuda"`.

    Returns:
        What was made; None in all processes but the first.

    Raises:
        InputError: The recipe does not fit its data, the output is not empty, or a run lies there already.
        TrainingError: The loss is no number any more.
    """
    check_recipe(recipe, data_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already and not empty; name a new folder with --output.")
    work = output.with_name(output.name + ".run")
    _open_work(work, recipe, resume=resume)
    processes = Processes(device)
    try:
        return _train(recipe, data_dir, output, work, processes, resume)
    finally:
        processes.close()


def _train(
    recipe: DistilRecipe, data_dir: Path, output: Path, work: Path, processes: Processes, resume: bool
) -> DistilReport | None:
    stages = stages_of(recipe)
    _seed(recipe.optimiser.seed)
    loaded = _Data(data_dir, processes)
    source, collection = loaded.of(stages[0])
    student = _build(recipe, collection, processes)
    reports = []
    for number, stage in enumerate(stages):
        source, collection = loaded.of(stage)
        cache = GradCache(
            student,
            processes,
            micro_batch=stage.optimiser.micro_batch,
            bf16=stage.optimiser.precision == "bf16",
            seed=stage.optimiser.seed,
        )
        task = _task(stage, cache, collection, work / f"stage-{number + 1}", data_dir)
        trainer = Trainer(stage, cache, task, collection, folder=work, stage=number)
        reports.append(trainer.train(resume=resume))
    processes.wait()
    if not processes.is_main:
        return None
    _cut_when_saved(student, stages[-1])
    exported = finish(student, output, work, recipe, source, collection, reports)
    return _report(recipe, output, work, student, reports, exported)


class _Data:
    """Text by stage; what two stages share is read once."""

    def __init__(self, data_dir: Path, processes: Processes) -> None:
        self._data_dir, self._processes = data_dir, processes
        self._read: dict[str, tuple[TextSource, Collection]] = {}

    def of(self, stage: DistilRecipe) -> tuple[TextSource, Collection]:
        """The stage's text."""
        key = repr((stage.kind, stage.data, stage.dev))
        if key not in self._read:
            if self._processes.is_main:
                say("Reading documents and queries")
            source = open_data(stage.data, self._data_dir)
            pretraining = stage.kind == "pretrain"
            dev = None if pretraining else stage.dev
            self._read = {key: (source, read_collection(stage.data, source, dev, queries=not pretraining))}
        return self._read[key]


def _build(recipe: DistilRecipe, collection: Collection, processes: Processes) -> Student:
    student = build_student(recipe.student, documents=collection.documents)
    student.to(processes.device)
    if recipe.optimiser.compile and hasattr(student, "model"):
        student.model.compile(dynamic=True)  # in place: names of parameters stay
    return student


def _task(
    stage: DistilRecipe, cache: GradCache, collection: Collection, folder: Path, data_dir: Path
) -> Task:
    if stage.kind == "pretrain":
        return Pretraining(stage, cache, collection.documents)
    labels = Labels(stage, collection, data_dir, cache)
    idf = None
    if any(side is not None and side.kind == "idf-flops" for side in _sides(stage)):
        idf = _idf(cache, collection)
    return Distillation(
        stage,
        cache,
        collection,
        refresh=lambda number: _candidates(labels, number, folder, cache.processes),
        teacher=labels.score if stage.teachers else None,
        idf=idf,
    )


def _sides(stage: DistilRecipe) -> tuple[Any, Any]:
    """Both sides' regularisers."""
    return stage.regulariser.document, stage.regulariser.query


def _idf(cache: GradCache, collection: Collection) -> torch.Tensor:
    """Inverse document frequencies of the word pieces, for `idf-flops`."""
    from lsr.training.student_tables import piece_idf

    tokeniser: Any = getattr(cache.student, "tokeniser")  # noqa: B009
    return torch.from_numpy(piece_idf(collection.documents, tokeniser, cache.student.dimension))


def _candidates(labels: Labels, number: int, folder: Path, processes: Processes) -> Candidates:
    """The candidates of a round: mined once, kept with the run, so that a resumed one has the same."""
    file = folder / f"candidates-{number}.npz"
    if processes.is_main and not file.is_file():
        found = labels.candidates(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part.npz")
        np.savez(partial, documents=found.documents, scores=found.scores, positive=found.positive)
        partial.replace(file)
    processes.wait()
    with np.load(file, allow_pickle=False) as arrays:
        return Candidates(arrays["documents"], arrays["scores"], arrays["positive"])


def _cut_when_saved(student: Student, stage: DistilRecipe) -> None:
    """A model that learned with its heaviest terms alone is saved to give no more."""
    side = stage.regulariser.document
    if side is None or side.keep is None:
        return
    if hasattr(student, "decoder"):
        decoder: Any = student.decoder
        decoder.settings = replace(decoder.settings, max_active_dims=side.keep)
    elif hasattr(student, "settings"):
        student.settings = replace(student.settings, max_active_dims=side.keep)


def _open_work(work: Path, recipe: DistilRecipe, *, resume: bool) -> None:
    """The folder of the run; a recipe that changed is not resumed."""
    stated = json.loads(json.dumps(asdict(recipe)))
    file = work / "recipe.json"
    if file.is_file() and not resume:
        raise InputError(f"A run lies in {work}; go on with --resume, or name a new folder with --output.")
    if file.is_file():
        changed = _first_difference(json.loads(file.read_text(encoding="utf-8")), stated)
        if changed:
            raise InputError(
                f"The run in {work} was begun with another {changed}; restore it, or name a new folder with "
                "--output."
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    partial.replace(file)


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            found = _first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            found = _first_difference(one, other, f"{path}[{i}]")
            if found:
                return found
        return ""
    return "" if old == new else path


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def _report(
    recipe: DistilRecipe,
    output: Path,
    work: Path,
    student: Student,
    reports: list[StageReport],
    exported: dict[str, dict[str, float]],
) -> DistilReport:
    last = reports[-1].last
    return DistilReport(
        recipe.name,
        str(output),
        str(work),
        sum(parameter.numel() for parameter in student.parameters()),
        tuple(reports),
        reports[-1].shipped_ndcg,
        last.get("document_terms"),
        last.get("query_terms"),
        last.get("flops"),
        exported,
        tuple(alarm for report in reports for alarm in report.alarms),
    )
