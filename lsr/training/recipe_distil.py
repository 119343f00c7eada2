"""Recipes of gradient training: kinds `distil` (teachers to student), `pretrain` and `adapt`.

Each record is one level of the YAML file; `lsr.training.recipe_read` builds and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lsr.training.recipe_data import DataRecipe, DevRecipe

StudentKind = Literal["symmetric", "splade-doc", "idf", "table", "decoder", "projected"]
TeacherKind = Literal["dense", "sparse", "lexical", "cross-encoder", "stored"]
RegulariserKind = Literal["flops", "idf-flops", "l1", "l0-flops", "df-flops"]


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters of a decoder (peft).

    Attributes:
        rank: Width of the adapters.
        alpha: Their scale, before division by the rank.
        dropout: Share of their input that is dropped.
        targets: Names of the linear layers that get one; empty for all of the layers' own.
    """

    rank: int = 16
    alpha: float = 8.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudentRecipe:
    """What is trained.

    Attributes:
        kind: `symmetric` (one model for both sides), `splade-doc` (queries are sets of word pieces of
            weight 1), `idf` (a fixed table of inverse document frequencies), `table` (a learned table),
            `decoder` (a causal language model), `projected` (a model that `lsr train project` made).
        model: A folder, a package that carries a model, or `hf:org/name`.
        init: `masked-lm` for a model with an MLM head; `dense` for a sentence encoder, whose input
            embeddings become the head ("vocabulary projection").
        architecture: A configuration of transformers with its `model_type`: random weights instead of
            `model`, and what `--dry-run` counts where the model is not there.
        tokenizer: The tokenizer's folder, where `model` has none.
        activation: `relu` for log1p(relu(x)), `log1p_relu` for a second log1p.
        attention: Of a decoder.
        body: Of a projected student: the dense encoder that its model was projected from.
        train_body: Whether that one learns too, or the rows alone.
        lora: Adapters of a decoder; without them all of its weights are trained.
        quantise: Weights of a decoder's body in 8 or 4 bits.
        table: How a learned table stays above 0.
        idf: `corpus` counts the word pieces of the documents; else a folder with an idf table.
        max_length: Word pieces read of a document, special tokens included.
        query_max_length: Word pieces read of a query.
        document_prompt: Stands before every document.
        query_prompt: Stands before every query.
        pruning_ratio: Weights below this share of a document's largest are dropped by the saved model.
        dropout: Share of states dropped in training; None for the model's own setting.
    """

    kind: StudentKind = "symmetric"
    model: str = ""
    init: Literal["masked-lm", "dense"] = "masked-lm"
    architecture: dict[str, Any] | None = None
    tokenizer: str | None = None
    activation: Literal["relu", "log1p_relu"] = "relu"
    attention: Literal["echo", "bidirectional", "causal"] = "echo"
    body: str = ""
    train_body: bool = True
    lora: LoraRecipe | None = None
    quantise: Literal["8bit", "4bit"] | None = None
    table: Literal["softplus", "relu"] = "softplus"
    idf: str = "corpus"
    max_length: int = 256
    query_max_length: int = 64
    document_prompt: str = ""
    query_prompt: str = ""
    pruning_ratio: float | None = None
    dropout: float | None = None


@dataclass(frozen=True)
class TeacherRecipe:
    """One teacher.

    Attributes:
        kind: What it is.
        model: Folder, package or bundled name of a dense, sparse or cross-encoding model.
        path: File of a `stored` teacher.
        weight: In the ensemble.
        max_length: Word pieces that it reads of a document; null for the model's own limit (sparse), or 256.
        analysis: Of a `lexical` teacher: BM25 over stems, over word pieces, or Lucene's.
        k1: BM25's.
        b: BM25's.
        mine: Whether its best documents become candidates.
    """

    kind: TeacherKind
    model: str = ""
    path: str = ""
    weight: float = 1.0
    max_length: int | None = None
    analysis: Literal["stems", "pieces", "lucene"] = "stems"
    k1: float = 0.9
    b: float = 0.4
    mine: bool = True


@dataclass(frozen=True)
class EnsembleRecipe:
    """How teachers' scores become one.

    Attributes:
        normalisation: Of each teacher's scores over a query's candidates.
        scale: What the weighted mean is multiplied with (S: 10 in pre-training, 30 in fine-tuning).
    """

    normalisation: Literal["min-max", "z-score", "none"] = "min-max"
    scale: float = 30.0


@dataclass(frozen=True)
class NegativesRecipe:
    """Which documents a query is trained on beside its positives.

    Attributes:
        depth: Best documents asked of each teacher.
        per_query: Candidates kept of each query, positives included.
        margin: A document that a teacher scores above the positive's score less this is a false negative.
        false_negatives: `keep` them as candidates for distillation, or `drop` them.
        student: Whether the current student's best documents are mined too, from the second round on.
        rounds: Rounds of training, with candidates mined again between them.
    """

    depth: int = 100
    per_query: int = 64
    margin: float = 0.0
    false_negatives: Literal["keep", "drop"] = "keep"
    student: bool = True
    rounds: int = 1


@dataclass(frozen=True)
class RegulariserRecipe:
    """One side's regulariser.

    Attributes:
        kind: See `lsr.training.regularisers`.
        weight: Lambda at the end of its ramp.
        steps: Optimiser steps of the quadratic ramp; 0 for a third of all steps.
        threshold: Of `l0-flops`: documents with no more terms are left alone.
        alpha: Of `df-flops`.
        beta: Of `df-flops`.
        apart: Whether slots of the candidate lists (positives, negatives) are averaged apart.
        keep: Heaviest terms kept of a vector, in training and by the saved model; null for all.
    """

    kind: RegulariserKind = "flops"
    weight: float = 0.0
    steps: int = 0
    threshold: int = 200
    alpha: float = 0.1
    beta: float = 5.0
    apart: bool = False
    keep: int | None = None


@dataclass(frozen=True)
class RegularisersRecipe:
    """Both sides; null for none."""

    document: RegulariserRecipe | None = None
    query: RegulariserRecipe | None = None


@dataclass(frozen=True)
class OptimiserRecipe:
    """Steps, batches and arithmetic.

    Attributes:
        lr: Learning rate of AdamW at the end of the warm-up; then it falls linearly to 0.
        query_lr: Of a learned query table; 0 for `lr`.
        weight_decay: Of matrices.
        warmup: Steps of the linear warm-up; below 1, that share of all steps.
        steps: Optimiser steps.
        batch: Queries of a step, over all processes.
        candidates: Documents of each query in a step, its positive first.
        micro_batch: Texts that a process runs through the model at once; no result depends on it.
        pool: Further queries that each step's documents are scored against (pool distillation).
        in_batch: Whether every document of the step is a candidate of every query for KL and MarginMSE.
        clip: Largest norm of the gradient; 0 for no bound.
        precision: `bf16` runs the model under autocast.
        seed: Of everything drawn.
        compile: Whether torch.compile runs the model.
    """

    lr: float = 2e-5
    query_lr: float = 0.0
    weight_decay: float = 0.01
    warmup: float = 0.05
    steps: int = 1000
    batch: int = 32
    candidates: int = 8
    micro_batch: int = 32
    pool: int = 0
    in_batch: bool = False
    clip: float = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    seed: int = 1
    compile: bool = False


@dataclass(frozen=True)
class CheckpointsRecipe:
    """What is kept of a run.

    Attributes:
        every: Optimiser steps between two checkpoints.
        keep: Checkpoints kept, the newest.
        average: Checkpoints whose weights are averaged at the end; 0 or 1 for none.
        ship: Which weights become the model: `choose` takes the best on the dev part.
    """

    every: int = 500
    keep: int = 3
    average: int = 3
    ship: Literal["choose", "best", "average", "last"] = "choose"


@dataclass(frozen=True)
class DistilRecipe:
    """A student trained on its teachers' scores (`kind: distil`), or on text alone (`kind: pretrain`).

    Attributes:
        name: Name of the model.
        kind: `distil`, or `pretrain` for losses that need neither queries nor teachers.
        student: What is trained.
        data: What is read.
        teachers: Whose scores are learned; none for losses on positives alone.
        ensemble: How their scores become one.
        negatives: Which candidates are mined.
        loss: Weight of each ranking loss (`kl`, `margin-mse`, `info-nce`, `pool-documents`,
            `pool-queries`), or of each objective of `pretrain` (`mlm`, `bow`, `clm`, `clm-relu`).
        temperature: Of `info-nce`.
        mask: Share of word pieces hidden for `mlm`.
        regulariser: Both sides'.
        optimiser: Steps, batches, arithmetic.
        checkpoints: What is kept.
        dev: What is held out.
        stages: Further stages, each a set of changes to the recipe; a stage goes on with the weights of
            the one before. Empty for one stage.
    """

    name: str
    kind: Literal["distil", "pretrain"] = "distil"
    student: StudentRecipe = field(default_factory=StudentRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    teachers: tuple[TeacherRecipe, ...] = ()
    ensemble: EnsembleRecipe = field(default_factory=EnsembleRecipe)
    negatives: NegativesRecipe = field(default_factory=NegativesRecipe)
    loss: dict[str, float] = field(default_factory=lambda: {"kl": 1.0})
    temperature: float = 1.0
    mask: float = 0.3
    regulariser: RegularisersRecipe = field(default_factory=RegularisersRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    checkpoints: CheckpointsRecipe = field(default_factory=CheckpointsRecipe)
    dev: DevRecipe = field(default_factory=DevRecipe)
    stages: tuple[DistilRecipe, ...] = ()


@dataclass(frozen=True)
class AdaptRecipe:
    """A model fitted to a user's own unlabelled corpus (`kind: adapt`).

    Attributes:
        name: Name of the new model.
        model: The model to begin with: a bundled name or a folder.
        corpus: A BEIR folder, relative to the data folder; its `corpus.jsonl` is enough.
        titles: Whether titles serve as pseudo-queries.
        sentences_each: Sentences of each passage that serve as pseudo-queries; 0 for none.
        texts: Upper bound of pseudo-queries.
        seed: Which pseudo-queries are taken.
        short_texts: A text file with one short text a line, relative to the data folder, on which the rows
            of a projected model are fitted too.
        vocabulary: Further stems that a projected model may take from the corpus.
        least: Documents that must hold a stem for it to be taken.
        ridge: How strongly rows stay where they were.
        steps: Conjugate-gradient steps.
        sample: Passages embedded for the mean and the scale.
        training: For a word-piece model: changes to the recipe of its short run (kind `distil`); its
            `teachers` replace BM25 and the model itself.
    """

    name: str
    model: str = "lsr-en-1"
    corpus: str = ""
    titles: bool = True
    sentences_each: int = 2
    texts: int = 100_000
    seed: int = 1
    short_texts: str | None = None
    vocabulary: int = 0
    least: int = 3
    ridge: float = 128.0
    steps: int = 20
    sample: int = 4_000
    training: dict[str, Any] = field(default_factory=dict)
