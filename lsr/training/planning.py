"""`lsr train --dry-run`: what a recipe would do, counted without training.

Parameters are counted on a model without numbers (PyTorch's meta device), so that a model of billions can
be planned on a laptop. Memory is an estimate of what training holds: weights, gradients, two moments of
AdamW, the vectors of a batch with their gradients, and a micro-batch's activations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lsr.encoders.folder import read_folder
from lsr.encoders.lexical import read_queries
from lsr.encoders.loading import bundled_models, resolve_name
from lsr.errors import InputError, InputFileError
from lsr.training.collection import open_data, read_collection
from lsr.training.recipe import stages_of
from lsr.training.recipe_check import check_recipe
from lsr.training.recipe_distil import DistilRecipe, StudentRecipe


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        documents: Documents of its collection.
        queries: Queries.
        positives: Pairs of a query and a document that answers it.
        dev_queries: Queries held out.
        refused: Texts that the licence table leaves out.
        steps: Optimiser steps.
        texts: Texts encoded in all of them, at most.
        epochs: How often each query comes.
    """

    documents: int
    queries: int
    positives: int
    dev_queries: int
    refused: int
    steps: int
    texts: int
    epochs: float


@dataclass(frozen=True)
class TrainingPlan:
    """What a dry run says.

    Attributes:
        name: Of the model.
        parameters: Of the student.
        trained: Those that learn.
        memory: Bytes that training holds, about.
        memory_parts: The same by part.
        stages: Each stage.
    """

    name: str
    parameters: int
    trained: int
    memory: int
    memory_parts: dict[str, int] = field(default_factory=dict)
    stages: tuple[StagePlan, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        parts = ", ".join(f"{name} {_size(size)}" for name, size in self.memory_parts.items())
        found = [
            f"{self.name}: {self.parameters:,} parameters, {self.trained:,} of them trained",
            f"memory about {_size(self.memory)} ({parts})",
        ]
        for number, stage in enumerate(self.stages, 1):
            found.append(
                f"stage {number}: {stage.documents:,} documents, {stage.queries:,} queries, "
                f"{stage.positives:,} positives, {stage.dev_queries:,} dev queries, {stage.refused:,} texts "
                f"refused; {stage.steps:,} steps, at most {stage.texts:,} texts, {stage.epochs:.2f} epochs"
            )
        return [*found, "Nothing was trained."]


def plan_training(recipe: DistilRecipe, data_dir: Path) -> TrainingPlan:
    """Check a recipe and its data, and count.

    Raises:
        As `check_recipe`, and InputError for a model whose architecture cannot be read.
    """
    check_recipe(recipe, data_dir, dry=True)
    shape = count_parameters(recipe.student)
    stages = tuple(_plan_stage(stage, data_dir) for stage in stages_of(recipe))
    parts = max((_memory(stage, shape) for stage in stages_of(recipe)), key=lambda p: sum(p.values()))
    return TrainingPlan(recipe.name, shape.parameters, shape.trained, sum(parts.values()), parts, stages)


@dataclass(frozen=True)
class Shape:
    """Sizes of a student.

    Attributes:
        parameters: All of them.
        trained: Those that learn.
        dimension: V.
        width: Of its states.
        layers: Of its body.
        inner: Width of the feed-forward part.
        heads: Of its attention.
    """

    parameters: int
    trained: int
    dimension: int
    width: int
    layers: int
    inner: int
    heads: int


def count_parameters(student: StudentRecipe) -> Shape:
    """Sizes of a student whose weights are never loaded.

    Raises:
        InputError: Its configuration cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    config = _config(student)
    if student.kind == "projected":
        return _projected_shape(student, config)
    kind = AutoModelForCausalLM if student.kind == "decoder" else AutoModelForMaskedLM
    try:
        with torch.device("meta"):
            model = kind.from_config(config)
        model.tie_weights()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"No model of this architecture can be made ({error}).") from None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = parameters
    if student.lora is not None:
        trained = _lora_parameters(model, student)
        parameters += trained
    dimension = int(config.vocab_size)
    if student.kind == "table":
        trained, parameters = trained + dimension, parameters + dimension
    return _shape(config, parameters, trained, dimension)


def _projected_shape(student: StudentRecipe, config: Any) -> Shape:
    import torch
    from transformers import AutoModel

    path = bundled_models().get(resolve_name(student.model), Path(student.model))
    queries = read_queries(read_folder(path))
    with torch.device("meta"):
        body = AutoModel.from_config(config, add_pooling_layer=False)
    rows = len(queries.stems) * int(config.hidden_size)
    parameters = sum(parameter.numel() for parameter in body.parameters())
    return _shape(config, parameters + rows, rows + parameters * student.train_body, queries.dimension)


def _shape(config: Any, parameters: int, trained: int, dimension: int) -> Shape:
    def size(*names: str) -> int:
        return int(next((getattr(config, name) for name in names if getattr(config, name, None)), 1))

    return Shape(
        parameters,
        trained,
        dimension,
        size("hidden_size", "dim", "n_embd"),
        size("num_hidden_layers", "n_layers", "n_layer"),
        size("intermediate_size", "hidden_dim", "n_inner"),
        size("num_attention_heads", "n_heads", "n_head"),
    )


def _config(student: StudentRecipe) -> Any:
    from transformers import AutoConfig

    from lsr.training.student_init import find_model, transformer_folder

    if student.architecture is not None:
        stated = dict(student.architecture)
        kind = str(stated.pop("model_type"))
        try:
            return AutoConfig.for_model(kind, **stated)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"There is no architecture {kind!r} ({error}).") from None
    folder = transformer_folder(find_model(student.body if student.kind == "projected" else student.model))
    for place in (folder, *sorted(folder.glob("document_0_*")), folder / "0_MLMTransformer"):
        if (place / "config.json").is_file():
            try:
                return AutoConfig.from_pretrained(str(place), local_files_only=True)
            except (ValueError, OSError, KeyError) as error:
                raise InputError(f"The configuration in {place} cannot be read ({error}).") from None
    raise InputFileError(f"The model {student.model!r} has no config.json.")


def _lora_parameters(model: Any, student: StudentRecipe) -> int:
    """Two matrices of the rank for each layer that is adapted."""
    import torch

    assert student.lora is not None
    head = model.get_output_embeddings()
    total = 0
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or module is head:
            continue
        if student.lora.targets and name.rsplit(".", 1)[-1] not in student.lora.targets:
            continue
        total += student.lora.rank * (module.in_features + module.out_features)
    return total


def _plan_stage(stage: DistilRecipe, data_dir: Path) -> StagePlan:
    source = open_data(stage.data, data_dir)
    pretraining = stage.kind == "pretrain"
    collection = read_collection(
        stage.data, source, None if pretraining else stage.dev, queries=not pretraining
    )
    options = stage.optimiser
    count = len(collection.documents if pretraining else collection.queries)
    each = 1 if pretraining else 1 + options.candidates
    return StagePlan(
        len(collection.documents),
        len(collection.queries),
        len(collection.positives),
        0 if collection.dev is None else len(collection.dev.queries),
        sum(source.refused.values()),
        options.steps,
        options.steps * options.batch * each,
        options.steps * options.batch / max(count, 1),
    )


def _memory(stage: DistilRecipe, shape: Shape) -> dict[str, int]:
    options, student = stage.optimiser, stage.student
    stored = {"8bit": 1.0, "4bit": 0.5, None: 4.0}[student.quantise]
    frozen = shape.parameters - shape.trained
    length = student.max_length * (2 if student.kind == "decoder" and student.attention == "echo" else 1)
    narrow = 2 if options.precision == "bf16" else 4
    tokens = min(options.micro_batch, options.batch * max(options.candidates, 1)) * length
    layer = tokens * (10 * shape.width + 2 * shape.inner) + tokens * length * shape.heads
    return {
        "weights": int(frozen * stored + shape.trained * 4),
        "gradients": shape.trained * 4,
        "optimiser": shape.trained * 8,
        "vectors": 2 * 4 * options.batch * (options.candidates + 1) * shape.dimension,
        "activations": layer * shape.layers * narrow,
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
