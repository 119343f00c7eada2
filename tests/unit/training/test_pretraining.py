"""Losses on text alone against plain NumPy and torch, and what they must not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from decoder_models import TEXTS as DECODER_TEXTS
from decoder_models import make_model, make_tokenizer
from sparse_models import TEXTS, write_bert

from lsr.errors import InputError
from lsr.training.recipe_distil import LoraRecipe, StudentRecipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from lsr.encoders.decoder_folder import DecoderSettings  # noqa: E402
from lsr.encoders.decoder_model import SparseDecoder  # noqa: E402
from lsr.training.pretraining import (  # noqa: E402
    adaptation_losses,
    bag_of_words_loss,
    bags_of_words,
    hide_pieces,
    max_logits,
    pretraining_losses,
    token_loss,
)
from lsr.training.students import build_student  # noqa: E402

DOCUMENTS = [text for text in TEXTS if text.strip()]


def plain_log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())


def plain_bag_loss(logits: np.ndarray, bags: np.ndarray) -> float:
    values = []
    for row, bag in zip(logits, bags, strict=True):
        values.append(-plain_log_softmax(row)[bag].mean() if bag.any() else 0.0)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(3))
def test_bags_of_words(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(0, 12, (4, 6)), (rng.random((4, 6)) < 0.7).astype(int)
    mask[0] = 0
    bags = bags_of_words(torch.from_numpy(ids), torch.from_numpy(mask), 12, [3, 40])
    expected = [
        {int(i) for i, m in zip(a, b, strict=True) if m} - {3} for a, b in zip(ids, mask, strict=True)
    ]
    assert [set(np.flatnonzero(row)) for row in bags.numpy()] == expected
    logits = rng.normal(0, 2, (4, 12))
    found = torch.from_numpy(logits).requires_grad_()
    assert float(bag_of_words_loss(found, bags).detach()) == pytest.approx(
        plain_bag_loss(logits, bags.numpy())
    )
    assert torch.autograd.gradcheck(lambda x: bag_of_words_loss(x, bags), (found,))


@pytest.mark.parametrize("biased", [True, False])
def test_largest_logits_are_the_plain_maximum_with_its_gradients(biased: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 5, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True)
    bias = torch.randn(40, requires_grad=True) - 6 if biased else None
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    found = max_logits(hidden, weight, bias, mask)
    logits = torch.nn.functional.linear(hidden, weight, bias)
    plain = logits.masked_fill(mask[..., None] == 0, -torch.inf).max(1).values
    assert torch.allclose(found, plain, atol=1e-4) and (plain < 0).any()
    factors = torch.rand_like(found)
    for a, b in zip(
        torch.autograd.grad(found, (hidden, weight), factors, retain_graph=True),
        torch.autograd.grad(plain, (hidden, weight), factors, retain_graph=True),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scores", ["logits", "log1p_relu"])
def test_token_losses_in_pieces(scores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import lsr.training.pretraining as module

    monkeypatch.setattr(module, "_TOKENS", 4)
    rng = np.random.default_rng(1)
    states, weight, bias = rng.normal(0, 1, (11, 6)), rng.normal(0, 1, (9, 6)), rng.normal(0, 1, 9)
    targets, weights = rng.integers(0, 9, 11), rng.random(11)
    logits = states @ weight.T + bias
    if scores == "log1p_relu":
        logits = np.log1p(np.maximum(logits, 0))
    plain = sum(-w * plain_log_softmax(z)[t] for z, t, w in zip(logits, targets, weights, strict=True))
    s, v, b, w = (torch.from_numpy(a).requires_grad_() for a in (states, weight, bias, weights))
    aims = torch.from_numpy(targets)
    assert float(token_loss(s, aims, w, (v, b), scores=scores).detach()) == pytest.approx(plain)
    assert torch.autograd.gradcheck(lambda s, v, b: token_loss(s, aims, w, (v, b), scores=scores), (s, v, b))
    assert float(token_loss(s[:0], aims[:0], w[:0], (v, b))) == 0.0


def test_hidden_pieces_are_no_special_ones() -> None:
    ids = torch.randint(5, 100, (40, 50))
    ids[:, 0], mask = 2, torch.ones(40, 50, dtype=torch.long)
    mask[:, 40:] = 0
    generator = torch.Generator().manual_seed(3)
    read, chosen = hide_pieces(
        ids, mask, share=0.3, hidden_id=4, special=[0, 1, 2, 3, 4], dimension=100, generator=generator
    )
    assert not chosen[:, 0].any() and not chosen[:, 40:].any()
    assert torch.equal(read[~chosen], ids[~chosen])
    assert 0.25 < float(chosen[:, 1:40].double().mean()) < 0.35
    assert 0.7 < float((read[chosen] == 4).double().mean()) < 0.9
    assert 0.03 < float((read[chosen] == ids[chosen]).double().mean()) < 0.2


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory):
    folder = write_bert(tmp_path_factory.mktemp("bert") / "model")
    return build_student(StudentRecipe(model=str(folder)))


def test_masked_losses_are_those_of_the_whole_logits(bert) -> None:
    found = pretraining_losses(
        bert, DOCUMENTS, {"mlm": 1.0, "bow": 0.5}, generator=torch.Generator().manual_seed(0)
    )
    generator, tokens = torch.Generator().manual_seed(0), bert.tokenise(DOCUMENTS)
    special = bert.tokeniser.special_ids
    ids, chosen = hide_pieces(
        tokens.input_ids, tokens.attention_mask, share=0.3, hidden_id=4, special=special,
        dimension=bert.dimension, generator=generator,
    )  # fmt: skip
    with torch.no_grad():
        states = bert.model(input_ids=ids, attention_mask=tokens.attention_mask).logits
        logits = torch.nn.functional.linear(states, bert.head.weight, bert.head.bias).double().numpy()
    mlm = []
    for row, aims, which in zip(logits, tokens.input_ids.numpy(), chosen.numpy(), strict=True):
        losses = [-plain_log_softmax(row[i])[aims[i]] for i in np.flatnonzero(which)]
        mlm.append(np.mean(losses) if losses else 0.0)
    masked = np.where(tokens.attention_mask.numpy()[..., None] > 0, logits, -np.inf).max(1)
    bags = bags_of_words(tokens.input_ids, tokens.attention_mask, bert.dimension, special).numpy()
    assert found.parts["mlm"] == pytest.approx(np.mean(mlm), rel=1e-4)
    assert found.parts["bow"] == pytest.approx(plain_bag_loss(masked, bags), rel=1e-4)
    expected = found.parts["mlm"] + 0.5 * found.parts["bow"]
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_pretraining_learns(bert) -> None:
    optimiser = torch.optim.Adam(bert.parameters(), lr=3e-3)
    values = []
    for step in range(25):
        optimiser.zero_grad()
        generator = torch.Generator().manual_seed(step % 5)
        loss = pretraining_losses(bert, DOCUMENTS, {"mlm": 1, "bow": 1}, generator=generator)
        loss.total.backward()
        optimiser.step()
        values.append(float(loss.total.detach()))
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base") / "causal"
    make_model("llama").save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(), bos_token="<s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("attention", ["echo", "bidirectional", "causal"])
def test_adaptation_is_causal_whatever_way_a_student_reads(attention: str) -> None:
    model = make_model("llama", tie_word_embeddings=False)
    ids, mask = torch.randint(3, 30, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    with torch.no_grad():
        # Before the causal mask is taken away.
        logits = model(input_ids=ids, attention_mask=mask).logits[..., :32].double().numpy()
    decoder = SparseDecoder(model, DecoderSettings(attention=attention, head="own"), columns=32)
    with torch.no_grad():
        found = adaptation_losses(decoder, ids, mask)
    for name, scores in (("clm", logits), ("clm-relu", np.log1p(np.maximum(logits, 0)))):
        rows = [
            np.mean([-plain_log_softmax(scores[b, i])[int(ids[b, i + 1])] for i in range(length - 1)])
            for b, length in enumerate((9, 5, 9))
        ]
        assert float(found[name]) == pytest.approx(np.mean(rows), rel=1e-4)


@pytest.mark.parametrize("lora", [None, LoraRecipe(rank=4, dropout=0.0)])
def test_adaptation_learns(base: Path, lora) -> None:
    if lora is not None:
        pytest.importorskip("peft")
    recipe = StudentRecipe(kind="decoder", model=str(base), lora=lora, max_length=24)
    student = build_student(recipe)
    parameters = [p for p in student.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    values = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = pretraining_losses(student, DECODER_TEXTS, {"clm": 1, "clm-relu": 1})
        loss.total.backward()
        optimiser.step()
        values.append(float(loss.total.detach()))
    assert values[-1] < 0.8 * values[0]


def test_parts_of_a_batch_add_up(bert) -> None:
    whole = pretraining_losses(bert, DOCUMENTS, {"bow": 1}, share=0.0)
    parts = [pretraining_losses(bert, [text], {"bow": 1}, share=0.0).parts["bow"] for text in DOCUMENTS]
    assert whole.parts["bow"] == pytest.approx(np.mean(parts), rel=1e-4)


def test_what_a_student_cannot_do_is_said(bert, base: Path) -> None:
    with pytest.raises(InputError, match="mlm and bow"):
        pretraining_losses(bert, DOCUMENTS, {"clm": 1})
    with pytest.raises(InputError, match="at least one text"):
        pretraining_losses(bert, [], {"mlm": 1})
    student = build_student(StudentRecipe(kind="decoder", model=str(base), max_length=24))
    with pytest.raises(InputError, match="clm and clm-relu"):
        pretraining_losses(student, DECODER_TEXTS, {"mlm": 1})
    with pytest.raises(InputError, match="nothing"):
        pretraining_losses(student, DECODER_TEXTS, {"clm": 0})
