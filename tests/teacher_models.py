"""Tiny random teachers, saved as other programs save them, and teachers whose scores a test gives.

torch, transformers and sentence-transformers are imported inside: only tests marked `torch` have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sparse_models import WORDS, bert_vocabulary, write_bert_tokenizer

from lsr.training.teachers.base import Numbers, Scores, Teacher, best_of


def random_texts(count: int, *, seed: int = 0, shortest: int = 3, longest: int = 12) -> list[str]:
    """Texts of the tiny models' words."""
    rng = np.random.default_rng(seed)
    words = [word for word in WORDS if not word.startswith("##")]
    return [" ".join(rng.choice(words, rng.integers(shortest, longest + 1))) for _ in range(count)]


def write_dense(path: Path, *, seed: int = 0) -> Path:
    """A plain folder of a random BERT body."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(bert_vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    path.mkdir(parents=True, exist_ok=True)
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    write_bert_tokenizer(path)
    return path


def write_sentence_model(
    path: Path, body: Path, *, pooling: str, prompts: dict[str, str] | None = None
) -> Path:
    """A folder that sentence-transformers saved."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as models

    transformer = models.Transformer(str(body), max_seq_length=64)
    model = SentenceTransformer(
        modules=[transformer, models.Pooling(32, pooling_mode=pooling)], device="cpu", prompts=prompts
    )
    model.save(str(path), create_model_card=False)
    return path


def write_cross_encoder(path: Path, *, seed: int = 0, labels: int = 1) -> Path:
    """A folder of a random cross-encoder, as transformers saves it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(bert_vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
    )
    path.mkdir(parents=True, exist_ok=True)
    BertForSequenceClassification(config).save_pretrained(path)
    write_bert_tokenizer(path)
    return path


class GivenTeacher(Teacher):
    """A teacher whose scores a test gives.

    Args:
        scores: float32 [Q, N], nan for missing ones.
        name: Its name and fingerprint.
    """

    def __init__(self, scores: np.ndarray, name: str = "given") -> None:
        super().__init__(name)
        self.scores = scores.astype(np.float32)
        self.asked = 0

    @property
    def fingerprint(self) -> str:
        return self.name

    def _prepare(self, documents: Sequence[str], queries: Sequence[str]) -> None:
        assert self.scores.shape == (len(queries), len(documents))

    def _score(self, queries: Numbers, candidates: Numbers) -> Scores:
        return self.scores[queries[:, None], candidates]

    def _top(self, queries: Numbers, k: int) -> tuple[Numbers, Scores]:
        self.asked += len(queries)
        return best_of(self.scores[queries], k)
