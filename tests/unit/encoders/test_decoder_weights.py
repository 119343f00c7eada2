"""Loading a decoder: what does not fit, is missing, or cannot be run ends in a sentence."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from decoder_models import (
    TEXTS,
    add_lora,
    decoder_of,
    dense_rows,
    load_tiny,
    make_model,
    run_tiny,
    write_tiny,
)

from lsr.errors import InputError, MissingExtraError, UnsupportedError

pytestmark = pytest.mark.torch


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    folder = write_tiny(tmp_path, model=make_model(vocab_size=16))
    with pytest.raises(InputError, match="32 tokens and the model 16"):
        run_tiny(folder)


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_read(tmp_path):
    write_tiny(tmp_path)
    config = tmp_path / "config.json"
    stated = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**stated, "num_hidden_layers": 10**10}), encoding="utf-8")
    with pytest.raises(InputError, match=r"needs [\d,.]+ GB on cpu"):
        load_tiny(tmp_path)


@pytest.mark.parametrize("head", ["tied", "own"])
def test_missing_weights_are_named_and_never_made_up(tmp_path, head):
    from safetensors.torch import load_file, save_file

    from lsr.encoders.decoder_folder import read_decoder_folder

    write_tiny(tmp_path, head=head)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    if head == "tied":
        assert load_tiny(tmp_path).encode_documents([TEXTS[0]]).nnz > 0
    else:
        with pytest.raises(InputError, match=r"lack lm_head\.weight"):
            run_tiny(read_decoder_folder(tmp_path))
    del weights["model.norm.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack "):
        load_tiny(tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"peft_type": "IA3"}, "of the kind 'IA3'"),
        ({"init_lora_weights": "pissa"}, "changes its base weights"),
        ({"r": 2}, "does not fit"),
        ({"target_modules": ["q_proj"]}, "does not fit"),
        ({"target_modules": ["nothing"]}, "does not fit"),
    ],
)
def test_adapters_that_cannot_be_used_are_explained(tmp_path, change, error):
    model = make_model()
    write_tiny(tmp_path, model=model, adapter=add_lora(model))
    file = tmp_path / "adapter" / "adapter_config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**stated, **change}), encoding="utf-8")
    with pytest.raises(InputError, match=error):
        load_tiny(tmp_path)


def test_an_adapter_of_the_output_matrix_works_merged_only(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = make_model()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head", "q_proj"]))
    folder = write_tiny(tmp_path, model=model, adapter=adapted, head="own")
    assert run_tiny(folder).dimension == 32
    with pytest.raises(UnsupportedError, match="adapter='merged'"):
        run_tiny(folder, adapter="unmerged")


def test_a_trained_copy_of_the_output_matrix_is_used(tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    model = make_model()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    with torch.no_grad():
        model.lm_head.modules_to_save["default"].weight.mul_(1.5)
    folder = write_tiny(tmp_path, model=model, adapter=adapted, head="own")
    merged, unmerged = run_tiny(folder), run_tiny(folder, adapter="unmerged")
    rows, _ = merged.tokeniser.encode(list(TEXTS))
    first, second = (dense_rows(r.encode(rows), r.dimension) for r in (merged, unmerged))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
    weight, _, _ = unmerged.decoder.head()
    torch.testing.assert_close(weight, 1.5 * make_model().lm_head.weight)


def test_models_that_cannot_be_read_in_both_directions_are_refused():
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("mamba", vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=1)
    with pytest.raises(UnsupportedError, match="mask of a mamba model cannot be taken away"):
        decoder_of(AutoModelForCausalLM.from_config(config), "bidirectional")


def test_a_capped_head_is_refused_as_own_and_left_out_as_tied():
    model = make_model("gemma2")
    with pytest.raises(UnsupportedError, match="head='tied'"):
        decoder_of(model, "causal", head="own")
    decoder_of(model, "causal", head="tied")


def test_padding_on_the_left_is_refused():
    import torch

    decoder = decoder_of(make_model(), "causal")
    ids = torch.tensor([[0, 1, 5]])
    with pytest.raises(InputError, match="padded on the right"):
        decoder(ids, torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 1]]))


def test_options_are_checked(tmp_path):
    import torch

    folder = write_tiny(tmp_path)
    with pytest.raises(InputError, match="not one of auto, fast"):
        run_tiny(folder, precision="int3")
    if not torch.cuda.is_available():
        from lsr.encoders.decoder import DecoderBackend

        with pytest.raises(UnsupportedError, match="no CUDA device"):
            DecoderBackend(folder, device="cuda")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_quantised_weights_need_their_extra(tmp_path):
    folder = write_tiny(tmp_path, load_in="8bit")
    with pytest.raises(MissingExtraError, match=r"in 8bit needs an extra: .*\[quantised\]"):
        run_tiny(folder)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes, the extra [quantised]")
@pytest.mark.parametrize(("load_in", "least"), [("8bit", 0.99), ("4bit", 0.8)])
def test_quantised_weights_give_like_vectors_and_a_warning(tmp_path, caplog, load_in, least):
    model = make_model(hidden_size=64, head_dim=16, intermediate_size=128)
    adapter = add_lora(model)
    exact = load_tiny(write_tiny(tmp_path / "a", model=model, adapter=adapter).path).encode_documents(
        list(TEXTS)
    )
    folder = write_tiny(tmp_path / "b", model=model, adapter=adapter, load_in=load_in, dtype="bfloat16")
    encoder = load_tiny(folder.path)
    found = encoder.encode_documents(list(TEXTS))
    assert encoder.backend == f"torch bfloat16 {load_in}" and "CSPLADE" in caplog.text
    cosine = (exact * found).sum(1) / np.sqrt((exact * exact).sum(1) * (found * found).sum(1))
    assert (np.asarray(cosine) > least).all() and np.abs((exact - found).toarray()).max() > 0
