"""`lsr train adapt`: a model fitted to a corpus of one's own, without queries, labels or judgements.

Titles and sentences of the corpus serve as pseudo-queries. A projected model has its rows fitted again in
closed form (`lsr.training.adapt_rows`), a lexical one its table of stems counted again; a word-piece model
gets a short run of distillation, with BM25 and the model as it was for teachers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lsr.encoders.decoder_folder import is_decoder_folder
from lsr.encoders.folder import is_model_folder, read_folder
from lsr.encoders.loading import bundled_models, resolve_name
from lsr.encoders.sparse_folder import TableSide, is_sparse_folder, read_sparse_folder
from lsr.errors import InputError, InputFileError, UnsupportedError
from lsr.training.adapt_rows import adapt_rows, read_short_texts
from lsr.training.collection import Collection, open_data, read_collection
from lsr.training.recipe_data import DataRecipe, DevRecipe
from lsr.training.recipe_distil import AdaptRecipe, DistilRecipe
from lsr.training.recipe_read import build, merge
from lsr.training.texts import TextSource


@dataclass(frozen=True)
class AdaptReport:
    """What adapting made.

    Attributes:
        name: The new model's name.
        path: Its folder.
        model: What it began with.
        documents: Documents of the corpus.
        queries: Pseudo-queries.
        facts: What was measured; see `RowsReport` of `adapt_rows` and `DistilReport` of `run`.
    """

    name: str
    path: str
    model: str
    documents: int
    queries: int
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.name} in {self.path}: adapted on {self.queries:,} pseudo-queries"]
        if "r_squared_before" in self.facts:
            before, after = self.facts["r_squared_before"], self.facts["r_squared"]
            parts.append(f"R squared of held-out ones {before:.3f} before and {after:.3f} after")
            parts.append(f"{self.facts['stems_added']:,} stems added")
        before, after = self.facts.get("dev_before"), self.facts.get("dev_after")
        if before is not None and after is not None:
            parts.append(
                f"held-out titles find their passages with NDCG@10 {before:.4f} before, {after:.4f} after"
            )
        elif self.facts.get("dev_ndcg_at_10") is not None:
            parts.append(f"dev NDCG@10 {self.facts['dev_ndcg_at_10']:.4f}")
        return ", ".join(parts) + "."


def plan_adapt(recipe: AdaptRecipe, data_dir: Path) -> dict[str, Any]:
    """What `--dry-run` says: the model's kind, documents, pseudo-queries.

    Raises:
        As `adapt`.
    """
    path = find_start(recipe.model)
    source, collection = _read(recipe, data_dir)
    del source
    return {
        "name": recipe.name,
        "model": recipe.model,
        "kind": _kind(path),
        "documents": len(collection.documents),
        "queries": len(collection.queries),
        "dev_queries": 0 if collection.dev is None else len(collection.dev.queries),
    }


def adapt(
    recipe: AdaptRecipe, data_dir: Path, output: Path, *, resume: bool = False, device: str = "auto"
) -> AdaptReport | None:
    """Fit a model to a corpus.

    Args:
        recipe: What to do.
        data_dir: Folder of the BEIR folder that it names.
        output: Model folder to write.
        resume: Go on with a word-piece model's run.
        device: Where that one is trained.

    Returns:
        What was made; None in all processes but the first.

    Raises:
        InputFileError: No such model, corpus or file.
        InputError: The output is not empty, or the corpus gives no pseudo-query.
        UnsupportedError: A model of a kind that cannot be adapted.
    """
    path = find_start(recipe.model)
    kind = _kind(path)
    if recipe.short_texts:
        read_short_texts(data_dir / recipe.short_texts, least=1)
    if kind != "projected":
        return _short_run(recipe, path, kind, data_dir, output, resume=resume, device=device)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already and not empty; name a new folder with --output.")
    source, collection = _read(recipe, data_dir)
    extra = read_short_texts(data_dir / recipe.short_texts) if recipe.short_texts else []
    rows = adapt_rows(recipe, path, collection, source, output, extra)
    return AdaptReport(
        recipe.name,
        str(output),
        recipe.model,
        len(collection.documents),
        len(collection.queries),
        asdict(rows),
    )


def find_start(name: str) -> Path:
    """The folder of the model to begin with.

    Raises:
        InputFileError: Neither a bundled name nor a folder.
    """
    bundled = bundled_models()
    path = bundled.get(resolve_name(name), Path(name))
    if not path.is_dir():
        known = ", ".join(["default", *bundled])
        raise InputFileError(
            f"There is no model {name!r} to adapt: bundled are {known}; otherwise give a folder."
        )
    return path


def _kind(path: Path) -> str:
    """`projected`, `idf`, `symmetric` or `decoder`.

    Raises:
        UnsupportedError: Another kind.
    """
    if is_model_folder(path):
        kind = str(read_folder(path).settings.get("kind"))
        if kind == "projected":
            return kind
        raise UnsupportedError(
            f"A {kind} model has nothing to adapt: an index weighs its queries by its own corpus already; "
            "begin with lsr-en-1."
        )
    if is_decoder_folder(path):
        return "decoder"
    if is_sparse_folder(path):
        return "idf" if isinstance(read_sparse_folder(path).query, TableSide) else "symmetric"
    raise UnsupportedError(f"{path} holds no sparse model that can be adapted.")


def _data(recipe: AdaptRecipe, data_dir: Path) -> DataRecipe:
    if not recipe.corpus:
        raise InputError("The recipe names no corpus; give a BEIR folder with --set corpus=FOLDER.")
    corpus = (recipe.corpus,)
    return DataRecipe(
        corpora=corpus,
        titles=corpus if recipe.titles else (),
        sentences=corpus if recipe.sentences_each else (),
        sentences_each=recipe.sentences_each,
        most_queries=recipe.texts,
        seed=recipe.seed,
    )


def _read(recipe: AdaptRecipe, data_dir: Path) -> tuple[TextSource, Collection]:
    data = _data(recipe, data_dir)
    source = open_data(data, data_dir)
    return source, read_collection(data, source, DevRecipe(queries=500, documents=5_000))


def _short_run(
    recipe: AdaptRecipe, path: Path, kind: str, data_dir: Path, output: Path, *, resume: bool, device: str
) -> AdaptReport | None:
    """Distillation of a word-piece model, begun with the model itself."""
    from lsr.training.run import train

    distil = short_run_recipe(recipe, path, kind, data_dir)
    report = train(distil, data_dir, output, resume=resume, device=device)
    if report is None:
        return None
    _, collection = _read(recipe, data_dir)
    return AdaptReport(
        recipe.name,
        str(output),
        recipe.model,
        len(collection.documents),
        len(collection.queries),
        report.to_json(),
    )


def short_run_recipe(recipe: AdaptRecipe, path: Path, kind: str, data_dir: Path) -> DistilRecipe:
    """The recipe of a word-piece model's short run, with the user's changes laid over it."""
    student: dict[str, Any] = {"kind": kind, "model": str(path)}
    if kind == "idf":
        student["idf"] = str(path)
    if kind == "decoder":
        student["lora"] = {}
    data: Mapping[str, Any] = asdict(_data(recipe, data_dir))
    base: dict[str, Any] = {
        "kind": "distil",
        "name": recipe.name,
        "student": student,
        "data": dict(data),
        "teachers": [{"kind": "lexical"}, {"kind": "sparse", "model": str(path)}],
        "ensemble": {"scale": 30.0},
        "negatives": {"depth": 50, "per_query": 32},
        "loss": {"kl": 1.0},
        "regulariser": {"document": {"kind": "flops", "weight": 0.002}},
        "optimiser": {"lr": 1e-5, "steps": 500, "batch": 16, "candidates": 8, "seed": recipe.seed},
        "checkpoints": {"every": 100},
        "dev": {"every": 100, "documents": 2_000},
    }
    distil: DistilRecipe = build(DistilRecipe, merge(base, recipe.training), "adapt: training")
    return distil
