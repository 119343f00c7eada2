"""The projected student: a dense body, fitted rows and the lexical floor, trained together.

It begins with a projected model (`lsr.training.project`) and the dense encoder that this model's body was
made of, and computes what `lsr.encoders.projected` computes: a document's own words keep their lexical weight
and are lifted by their rows' product with the embedding, and the best other stems are its expansion. What is
kept keeps its value; the choice of the best has no gradient. Saved folders are the projected model's with new
rows and body; int8 arithmetic moves their vectors a little.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsr.encoders.folder import ModelFolder, bundled_root, read_folder, write_folder
from lsr.encoders.lexical import LexicalConstants, LexicalWeights, read_queries
from lsr.encoders.loading import load_encoder, resolve_name
from lsr.encoders.pretrained import load_pretrained, loading_fault
from lsr.encoders.projected import ProjectionConstants
from lsr.encoders.tokens import Tokeniser
from lsr.errors import InputError
from lsr.settings import measure_largest_weight
from lsr.training.export import export_body
from lsr.training.rows import to_int8
from lsr.training.student_base import Role, Student, Tokens, looked_up, looked_up_scores, no_tokens, pad_rows
from lsr.training.student_init import find_model, set_dropout, transformer_folder


class ProjectedStudent(Student):
    """A dense body read through rows, on a lexical floor.

    Args:
        folder: The projected model that it begins with.
        body: A BERT of transformers, whose mean-pooled states are the embedding.
        train_body: Whether the body learns; otherwise the rows alone do, and the folder's own body is kept.
        max_length: Word pieces that the body reads; None for the folder's.
    """

    kind = "projected"
    inference_free = True

    def __init__(
        self, folder: ModelFolder, body: nn.Module, *, train_body: bool = True, max_length: int | None = None
    ) -> None:
        super().__init__()
        settings = folder.settings
        self.folder = folder
        self.body = body.requires_grad_(train_body)
        self.train_body = train_body
        self.max_length = int(max_length or settings["body"]["max_length"])
        self.constants = ProjectionConstants(**settings["projection"])
        self.lookup = read_queries(folder)
        self.lexical = LexicalWeights(self.lookup, LexicalConstants(**settings["lexical"]))
        self.tokeniser = Tokeniser(folder.path, self.max_length)
        self.dimension = self.lookup.dimension
        stems, width = len(self.lookup.stems), int(settings["body"]["width"])
        integers = folder.array("rows.npy", "int8", (stems, width))
        scales = folder.array("row_scales.npy", "float32", (stems,))
        self.rows = nn.Parameter(torch.from_numpy(np.asarray(integers * scales[:, None], np.float32)))
        mean = np.array(folder.array("mean.npy", "float32", (width,)))
        self.register_buffer("mean", torch.from_numpy(mean))

    def tokenise(self, texts: Sequence[str], role: Role = "document") -> Tokens:
        """See `Student.tokenise`: word pieces and own words of documents, terms of queries with their idf."""
        if role == "query":
            pairs = self.lookup.weigh_many(texts)
            ids, mask = no_tokens(len(texts))
        else:
            own = [self.lexical.weigh(text) for text in texts]
            pairs = [(vector.columns, vector.weights) for vector in own]
            ids, mask = pad_rows(self.tokeniser.encode(texts)[0])
        columns, _ = pad_rows([column.tolist() for column, _ in pairs])
        weights = np.zeros(tuple(columns.shape), np.float32)
        for i, (_, values) in enumerate(pairs):
            weights[i, : len(values)] = values
        return Tokens(ids, mask, columns=columns, weights=torch.from_numpy(weights))

    def embed(self, tokens: Tokens) -> Tensor:
        """Mean-pooled states of unit length: float32 [B, width]."""
        hidden = self.body(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        mask = tokens.attention_mask.unsqueeze(-1).float()
        pooled = (hidden.last_hidden_state.float() * mask).sum(1) / mask.sum(1).clamp(min=1)
        return nn.functional.normalize(pooled, dim=1)

    def documents(self, tokens: Tokens) -> Tensor:
        """See `Student.documents`."""
        return self.combine(self.embed(tokens), tokens)

    def combine(self, embeddings: Tensor, tokens: Tokens) -> Tensor:
        """Own words lifted by their projection, and the best other stems, as `ProjectedEncoder` has them.

        Args:
            embeddings: float32 [B, width], of unit length.
            tokens: The documents, for their own words.

        Returns:
            float32 [B, V].
        """
        assert tokens.columns is not None and tokens.weights is not None
        stems, constants = len(self.rows), self.constants
        projection = constants.gain * torch.relu((embeddings - self.mean) @ self.rows.T)
        weights = looked_up(tokens.columns, tokens.weights, self.dimension)
        is_own = weights[:, :stems] > 0
        expansion = projection.masked_fill(is_own, 0.0)
        counts = (tokens.weights > 0).sum(1)
        wanted = [constants.expansion(n) if n else 0 for n in counts.tolist()]
        most = min(max(wanted, default=0), stems)
        best = expansion.detach().topk(most, dim=1).indices
        places = torch.arange(most, device=best.device)
        first = (places < torch.tensor(wanted, device=best.device)[:, None]).to(weights.dtype)
        chosen = torch.zeros_like(expansion).scatter_(1, best, first)
        learned = constants.own_gain * projection * is_own + expansion * chosen
        return torch.cat([weights[:, :stems] + learned, weights[:, stems:]], dim=1)

    def queries(self, tokens: Tokens) -> Tensor:
        """See `Student.queries`; weights are the idf of the model's own table, and have no gradient."""
        assert tokens.columns is not None and tokens.weights is not None
        return looked_up(tokens.columns, tokens.weights, self.dimension)

    def scores(self, tokens: Tokens, documents: Tensor) -> Tensor:
        """See `Student.scores`."""
        assert tokens.columns is not None and tokens.weights is not None
        return looked_up_scores(tokens.columns, tokens.weights, documents)

    def query_parameters(self) -> list[nn.Parameter]:
        """The rows: a query is their weighted sum, and they want another learning rate than the body."""
        return [self.rows]

    def save(self, path: str | Path) -> None:
        """See `Student.save`; the model is named after its folder.

        Raises:
            InputError: The folder is there already and not empty.
            MissingExtraError: The body was trained, and what converts it to ONNX is not installed.
        """
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target} is there already and not empty; give another folder.")
        target.mkdir(parents=True, exist_ok=True)
        names = [name for name in self.folder.settings["files"] if name != "README.md"]
        for name in names:
            shutil.copyfile(self.folder.path / name, target / name)
        integers, scales = to_int8(self.rows.detach().float().cpu().numpy())
        np.save(target / "rows.npy", integers)
        np.save(target / "row_scales.npy", scales)
        np.save(target / "mean.npy", self.mean.float().cpu().numpy())
        if self.train_body:
            config = self.body.config
            heads, width = int(config.num_attention_heads), int(config.hidden_size)
            export_body(_for_export(self.body), target / "body.onnx", heads=heads, width=width)
        settings = {k: v for k, v in self.folder.settings.items() if k not in ("files", "format", "analysis")}
        settings |= {"name": target.name, "body": {**settings["body"], "max_length": self.max_length}}
        write_folder(target, settings, names)
        # What the folder states bounds the weights of an index: it is measured on what was written.
        settings["max_document_weight"] = round(measure_largest_weight(load_encoder(target)), 2)
        write_folder(target, settings, names)


def build_projected(
    model: str,
    body: str,
    *,
    train_body: bool = True,
    max_length: int | None = None,
    dropout: float | None = None,
) -> ProjectedStudent:
    """A projected student, in evaluation mode.

    Args:
        model: A projected model: a bundled name or a folder.
        body: The dense encoder that its body was made of: a folder, or a package that carries one.
        train_body: Whether the body learns too.
        max_length: Word pieces that the body reads; None for the model's own bound.
        dropout: Share of states dropped in training; None for the body's own setting.

    Raises:
        InputFileError: One of them is not there.
        InputError: No projected model, or a body of another kind or width.
    """
    name = resolve_name(model)
    path = bundled_root() / name if (bundled_root() / name).is_dir() else Path(model)
    folder = read_folder(path)
    if folder.settings.get("kind") != "projected":
        raise InputError(
            f"{path} holds a {folder.settings.get('kind')} model; a projected one is needed here."
        )
    network = _load_body(transformer_folder(find_model(body)))
    width = int(folder.settings["body"]["width"])
    if int(network.config.hidden_size) != width:
        raise InputError(
            f"The body {body!r} is {network.config.hidden_size} wide and the rows of {model!r} are {width}: "
            "give the dense model that this model was projected from."
        )
    if dropout is not None:
        set_dropout(network, dropout)
    student = ProjectedStudent(folder, network, train_body=train_body, max_length=max_length)
    student.eval()
    return student


def _load_body(path: Path) -> Any:
    from transformers import AutoModel

    try:
        model, info = load_pretrained(AutoModel, path, dtype=torch.float32, add_pooling_layer=False)
    except Exception as error:  # transformers raises what it likes
        raise InputError(f"The model in {path} cannot be loaded ({loading_fault(error)}).") from error
    if info["missing_keys"] or model.config.model_type != "bert":
        raise InputError(f"{path} holds no whole BERT, and no other body can be projected.")
    return model


def _for_export(body: Any) -> Any:
    """A copy with plain attention, on the CPU: the form whose operators ONNX Runtime fuses."""
    from transformers import AutoModel

    copy = AutoModel.from_config(body.config, attn_implementation="eager", add_pooling_layer=False)
    copy.load_state_dict({name: value.detach().cpu() for name, value in body.state_dict().items()})
    return copy.eval()
