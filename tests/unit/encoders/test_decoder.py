"""Sparse vectors of tiny random decoders: against transformers by hand, in every option."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from decoder_models import (
    TEXTS,
    add_lora,
    decoder_of,
    dense_rows,
    load_tiny,
    make_model,
    make_tokenizer,
    run_tiny,
    write_tiny,
)

from lsr.encoders.decoder_folder import DecoderSettings

pytestmark = pytest.mark.torch

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
ATTENTIONS = ("echo", "bidirectional", "causal")


def by_hand(model, tokenizer, text, *, echo, head="own", pool="max", activation="relu", causal=True):
    """One text without padding, all logits at once, from transformers alone."""
    import torch

    words = tokenizer.encode(text, add_special_tokens=False).ids
    ids = torch.tensor([[1, *words, *words]] if echo else [[1, *words]])
    mask = None if causal else torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    with torch.no_grad():
        hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        matrix = model.lm_head.weight if head == "own" else model.model.embed_tokens.weight
        logits = (hidden @ matrix.T)[0, -len(words) :, : tokenizer.get_vocab_size()]
        scores = torch.log1p(torch.relu(logits))
        if activation == "log1p_relu":
            scores = torch.log1p(scores)
        return (scores.max(0).values if pool == "max" else scores.sum(0)).numpy()


@pytest.mark.parametrize("family", ["mistral", "qwen2", "llama", "qwen3"])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("head", ["tied", "own"])
def test_vectors_are_those_computed_by_hand(tmp_path, family, attention, head):
    model, tokenizer = make_model(family), make_tokenizer()
    write_tiny(tmp_path, model=model, attention=attention, head=head)
    encoder = load_tiny(tmp_path)
    matrix = encoder.encode_documents(list(TEXTS)).toarray()
    assert matrix.shape == (4, encoder.dimension) and encoder.dimension == len(encoder.vocabulary) < 48
    options = {"echo": attention == "echo", "head": head, "causal": attention != "bidirectional"}
    for text, row in zip(TEXTS, matrix, strict=True):
        np.testing.assert_allclose(row, by_hand(model, tokenizer, text, **options), **CLOSE)


@pytest.mark.parametrize("pool", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_pooling_and_activation_are_those_of_the_settings(tmp_path, pool, activation):
    model, tokenizer = make_model(), make_tokenizer()
    write_tiny(tmp_path, model=model, head="own", pool=pool, activation=activation)
    row = load_tiny(tmp_path).encode_documents([TEXTS[1]]).toarray()[0]
    expected = by_hand(model, tokenizer, TEXTS[1], echo=True, pool=pool, activation=activation)
    np.testing.assert_allclose(row, expected, **CLOSE)


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_row_does_not_depend_on_its_neighbours(tmp_path, family, attention):
    folder = write_tiny(tmp_path, model=make_model(family), attention=attention)
    runner = run_tiny(folder)
    rows, _ = runner.tokeniser.encode([*TEXTS, "", TEXTS[0]])
    together = dense_rows(runner.encode(rows), runner.dimension)
    alone = np.vstack([dense_rows(runner.encode([row]), runner.dimension) for row in rows])
    np.testing.assert_allclose(together, alone, **CLOSE)
    assert not together[4].any() and together[:4].any(1).all()


@pytest.mark.parametrize("family", ["mistral", "qwen2"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_merged_equals_unmerged_and_an_adapter_matters(tmp_path, family, attention):
    model = make_model(family)
    without = load_tiny(write_tiny(tmp_path / "base", model=model, attention=attention).path)
    folder = write_tiny(tmp_path / "lora", model=model, adapter=add_lora(model), attention=attention)
    merged, unmerged = run_tiny(folder, adapter="merged"), run_tiny(folder, adapter="unmerged")
    rows, _ = merged.tokeniser.encode(list(TEXTS))
    first, second = (dense_rows(runner.encode(rows), runner.dimension) for runner in (merged, unmerged))
    np.testing.assert_allclose(first, second, **CLOSE)
    assert np.abs(first - without.encode_documents(list(TEXTS)).toarray()).max() > 0.01
    assert not any("lora" in name for name, _ in merged.decoder.named_parameters())
    assert any("lora" in name for name, _ in unmerged.decoder.named_parameters())


@pytest.mark.parametrize("family", ["mistral", "qwen2", "llama"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_causal_mask_is_really_gone(family, kernel):
    import torch

    ids = torch.tensor([[1, 5, 6, 7, 8]])
    changed = torch.tensor([[1, 5, 6, 7, 9]])
    seen = {}
    for attention in ATTENTIONS:
        decoder = decoder_of(make_model(family, attn_implementation=kernel), attention)
        before, after = (decoder.hidden_states(row, torch.ones_like(row))[0] for row in (ids, changed))
        seen[attention] = (before - after).abs().amax(1).tolist()
    assert min(seen["bidirectional"]) > 1e-4
    for attention in ("causal", "echo"):
        assert seen[attention][:4] == [0.0] * 4 and seen[attention][4] > 1e-4


def test_padding_is_not_seen_in_both_directions():
    import torch

    decoder = decoder_of(make_model(), "bidirectional")
    real = torch.tensor([[1, 1, 1, 0, 0]])
    states = [
        decoder.hidden_states(torch.tensor([[1, 5, 6, *padding]]), real)[0, :3]
        for padding in ([0, 0], [9, 8])
    ]
    assert torch.equal(states[0], states[1])


def test_only_the_second_copy_is_pooled_and_it_sees_the_whole_first(tmp_path):
    import torch

    from lsr.encoders.head import plain_head

    runner = run_tiny(write_tiny(tmp_path, attention="echo", head="own"))
    rows, _ = runner.tokeniser.encode(["vaccines train winter", "vaccines train wind"])
    ids, real, pooled = runner.tensors(rows)
    assert ids[0].tolist() == [rows[0][0], *rows[0][1:], *rows[0][1:]]
    assert pooled[0].tolist() == [False] * 4 + [True] * 3
    with torch.no_grad():
        states = runner.decoder.hidden_states(ids, real)
        second = plain_head(states[:, 4:7], runner.decoder.model.lm_head.weight)[:, : runner.dimension]
        first = plain_head(states[:, 1:4], runner.decoder.model.lm_head.weight)[:, : runner.dimension]
    found = dense_rows(runner.encode(rows), runner.dimension)
    np.testing.assert_allclose(found, second.numpy(), **CLOSE)
    assert np.abs(found - first.numpy()).max() > 0.01
    # The texts differ in their last word: the first copy's first word cannot know, the second's does.
    difference = (states[0] - states[1]).abs().amax(1)
    assert difference[1] == 0 and difference[4] > 1e-4


def test_prompts_are_read_and_not_pooled(tmp_path):
    model, tokenizer = make_model(), make_tokenizer(end=True)
    folder = write_tiny(
        tmp_path,
        model=model,
        tokenizer=tokenizer,
        attention="bidirectional",
        document_prompt="document : ",
        query_prompt="query : ",
    )
    import torch

    encoder = load_tiny(folder.path)
    matrix = encoder.encode_documents([TEXTS[0]]).toarray()[0]
    ids = tokenizer.encode("document : " + TEXTS[0]).ids
    assert ids[0] == 1 and ids[-1] == 2
    mask = torch.zeros(1, 1, len(ids), len(ids))
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state
        logits = (hidden @ model.model.embed_tokens.weight.T)[0, 3:-1, : encoder.dimension]
    np.testing.assert_allclose(matrix, torch.log1p(torch.relu(logits)).max(0).values.numpy(), **CLOSE)
    query = encoder.encode_queries([TEXTS[0]]).toarray()[0]
    assert np.abs(query - matrix).max() > 0.01
    # The queries' backend shares the weights of the documents'.
    assert encoder.queries.backend.decoder is encoder.documents.backend.decoder


def test_limits_of_the_settings_hold(tmp_path):
    whole = load_tiny(write_tiny(tmp_path / "a").path).encode_documents(list(TEXTS))
    encoder = load_tiny(write_tiny(tmp_path / "b", max_active_dims=5, pruning_ratio=0.5, max_length=4).path)
    batch = encoder.encode_batch(list(TEXTS))
    assert (np.diff(batch.indptr) <= 5).all() and whole.nnz > 40
    assert batch.cut.tolist() == [2, 8, 5, 0]
    for start, stop in zip(batch.indptr, batch.indptr[1:], strict=False):
        assert batch.values[start:stop].min() >= 0.5 * batch.values[start:stop].max()


def test_bfloat16_is_computed_in_bfloat16(tmp_path):
    import torch

    folder = write_tiny(tmp_path, dtype="bfloat16")
    runner, exact = run_tiny(folder), run_tiny(folder, precision="float32")
    assert runner.name == "torch bfloat16" and exact.name == "torch"
    assert {tensor.dtype for tensor in runner.decoder.parameters()} == {torch.bfloat16}
    rows, _ = runner.tokeniser.encode(list(TEXTS))
    one, two = (dense_rows(r.encode(rows), r.dimension) for r in (runner, exact))
    assert 0 < np.abs(one - two).max() < 0.3


def test_a_vocabulary_of_250_thousand_fits():
    """No tensor comes near [batch, length, vocabulary], forward or backward."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from lsr.encoders.decoder_model import SparseDecoder

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for part in result if isinstance(result, tuple | list) else [result]:
                if isinstance(part, torch.Tensor):
                    # What a view shows is not what it takes.
                    Largest.size = max(Largest.size, part.untyped_storage().nbytes())
            return result

    model = make_model("qwen2", vocab_size=250_000, hidden_size=8, head_dim=2, intermediate_size=16)
    decoder = SparseDecoder(model, DecoderSettings(attention="echo"), columns=250_000)
    ids = torch.randint(0, 250_000, (4, 129))
    pooled = torch.zeros(4, 129, dtype=torch.bool)
    pooled[:, 65:] = True
    with Largest():
        weights = decoder(ids, torch.ones_like(ids), pooled)
        weights.mean().backward()
    # The largest holds two int64 for each active pair of document and term (16 MB); logits of the pooled
    # tokens alone would take 256 MB, those of all tokens 516 MB.
    assert weights.shape == (4, 250_000) and Largest.size <= 4 * 250_000 * 16
    gradient = model.model.embed_tokens.weight.grad
    assert gradient.shape == (250_000, 8) and gradient.abs().sum() > 0


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_it_trains_through_the_head_and_the_adapter_alone_learns(tmp_path, attention):
    import torch

    model = make_model()
    runner = run_tiny(
        write_tiny(tmp_path, model=model, adapter=add_lora(model), attention=attention), adapter="unmerged"
    )
    before = {name: tensor.clone() for name, tensor in runner.decoder.named_parameters()}
    learning = [tensor for tensor in runner.decoder.parameters() if tensor.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.02)
    rows, _ = runner.tokeniser.encode(list(TEXTS))
    batch = runner.tensors(rows)
    target = torch.zeros(4, runner.dimension)
    target[torch.arange(4), torch.tensor([5, 9, 13, 17])] = 2.0
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = ((runner.forward(*batch) - target) ** 2).mean()
        loss.backward()
        losses.append(loss.item())
        for name, tensor in runner.decoder.named_parameters():
            assert (tensor.grad is not None and tensor.grad.abs().sum() > 0) == ("lora" in name), name
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    for name, tensor in runner.decoder.named_parameters():
        assert torch.equal(tensor, before[name]) != ("lora" in name), name


def test_an_index_of_a_table_is_searched_without_the_model(tmp_path):
    import lsr

    table = np.linspace(0.5, 2.0, make_tokenizer().get_vocab_size(), dtype=np.float32)
    write_tiny(tmp_path / "model", queries="table", query_table=table)
    index = lsr.Index.create(tmp_path / "index", encoder=str(tmp_path / "model"))
    index.add([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
    hits = index.search("immune system", k=3)
    index.close()
    code = (
        "import json, sys, lsr\n"
        f"hits = lsr.Index.open({str(tmp_path / 'index')!r}).search('immune system', k=3)\n"
        "print(json.dumps([[hit.id, hit.score] for hit in hits]))\n"
        "print({'torch', 'transformers', 'onnxruntime'} & set(sys.modules))\n"
    )
    (tmp_path / "model").rename(tmp_path / "gone")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, loaded = done.stdout.splitlines()
    assert json.loads(found) == [[hit.id, hit.score] for hit in hits] and len(hits) > 0
    assert loaded == "set()"


def test_queries_by_the_model_find_it_again(tmp_path):
    import lsr

    write_tiny(tmp_path / "model", attention="causal")
    with lsr.Index.create(tmp_path / "index", encoder=str(tmp_path / "model")) as index:
        index.add([{"id": str(i), "text": text} for i, text in enumerate(TEXTS)])
        ids = [hit.id for hit in index.search(TEXTS[1], k=4)]
    with lsr.Index.open(tmp_path / "index") as index:
        assert [hit.id for hit in index.search(TEXTS[1], k=4)] == ids and len(ids) == 4
