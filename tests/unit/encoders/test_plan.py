"""The arithmetic of plans: against transformers' own counts, published totals, and torch's meta device."""

from __future__ import annotations

import json

import numpy as np
import pytest
from decoder_models import add_lora, make_model, tiny_config

from lsr.encoders.plan import PRECISIONS, check_memory, make_plan, plan_architecture
from lsr.encoders.plan_architecture import KNOWN, LORA_TARGETS, adapter_parameters, read_architecture
from lsr.encoders.plan_devices import available_memory, measure_cpu
from lsr.errors import InputError, UnknownEncoderError

PUBLISHED = {
    "mistral-7b": 7_241_732_096,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "qwen3-0.6b": 596_049_920,
    "qwen3-4b": 4_022_468_096,
    "qwen2.5-7b": 7_615_616_512,
    "bert-base": 109_514_298,
    "distilbert": 66_985_530,
}


def mistral(**changes):
    options = {
        "name": "mistral-7b",
        "tokens": 256,
        "batch": 8,
        "precision": "bfloat16",
        "attention": "echo",
        **changes,
    }
    return plan_architecture(read_architecture(KNOWN["mistral-7b"], where="here"), **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    assert read_architecture(KNOWN[name], where=name).parameters == PUBLISHED[name]


def test_weights_take_their_bytes_and_quantised_layers_less():
    plan = mistral()
    assert plan.weights["float32"] == 4 * plan.parameters
    assert plan.weights["bfloat16"] == plan.weights["float16"] == 2 * plan.parameters
    # Embeddings, head and norms stay at two bytes; 6,979,321,856 weights of the layers take one.
    assert plan.weights["int8"] == 6_979_321_856 + 2 * (plan.parameters - 6_979_321_856)
    assert plan.weights["int4"] < plan.weights["int8"] < plan.weights["bfloat16"]
    assert mistral(adapter=1000).weights["bfloat16"] == plan.weights["bfloat16"] + 2000


def test_an_echo_doubles_the_layers_and_not_the_head():
    echo, once = mistral(), mistral(attention="causal")
    weights = 6_979_321_856
    assert once.body_flop == 256 * (2 * weights + 4 * 32 * 4096 * 256)
    assert echo.body_flop == 512 * (2 * weights + 4 * 32 * 4096 * 512)
    assert echo.head_flop == once.head_flop == 256 * 2 * 32000 * 4096


def test_the_fused_head_avoids_more_than_it_needs_at_a_large_vocabulary():
    qwen = read_architecture(KNOWN["qwen3-0.6b"], where="here")
    plan = plan_architecture(
        qwen, name="q", tokens=256, batch=256, precision="bfloat16", attention="bidirectional"
    )
    assert plan.avoided_bytes == 256 * 256 * 151_936 * 2
    assert plan.activation_bytes < plan.avoided_bytes / 4


def test_a_plan_says_what_fits():
    plan = mistral()
    assert plan.needed == plan.weight_bytes + plan.activation_bytes
    assert plan.fits(plan.needed) and not plan.fits(plan.needed - 1)


def test_a_model_too_large_is_refused_in_one_sentence():
    free = available_memory("cpu")
    assert free is not None and 1e6 < free < 1e15
    huge = read_architecture({**KNOWN["mistral-7b"], "num_hidden_layers": 100_000}, where="here")
    plan = plan_architecture(huge, name="huge", tokens=8, batch=1, precision="bfloat16", attention="causal")
    with pytest.raises(InputError, match=r"^huge needs [\d,.]+ GB on cpu .* and [\d,.]+ .B are free; take"):
        check_memory(plan, "cpu")
    tiny = read_architecture(KNOWN["bert-tiny"], where="here")
    check_memory(
        plan_architecture(tiny, name="t", tokens=8, batch=1, precision="float32", attention=None), "cpu"
    )


def test_a_named_plan_is_json_with_stated_assumptions():
    plan = make_plan("mistral-7b", tokens=128, batch=4)
    values = json.loads(json.dumps(plan.to_json()))
    assert values["parameters"] == PUBLISHED["mistral-7b"] and values["precision"] == "bfloat16"
    assert values["needed_bytes"] == plan.needed and set(values["weights"]) == set(PRECISIONS)
    names = [device["device"] for device in values["devices"]]
    assert names == ["this CPU", "H100", "A100", "L4"]
    assert "measured now" in values["devices"][0]["assumption"]
    for device in values["devices"][1:]:
        assert "not measured" in device["assumption"]
        expected = 3600 * device["flops"] / (plan.body_flop + plan.head_flop)
        assert np.isclose(device["documents_per_hour"], expected)
    text = "\n".join(plan.lines())
    assert "7,241,732,096 parameters" in text and "estimate" in text and "H100: fits" in text


def test_a_masked_model_has_no_attention_option():
    plan = make_plan("bert-base", attention="echo")
    assert plan.attention is None and plan.precision == "float32"
    assert plan.body_flop == make_plan("bert-base").body_flop


def test_this_processor_multiplies():
    assert 1e8 < measure_cpu(seconds=0.02) < 1e15


def test_unknown_names_and_options_are_explained(tmp_path):
    with pytest.raises(UnknownEncoderError, match=r"no model 'gpt-9' to plan: known are mistral-7b"):
        make_plan("gpt-9")
    with pytest.raises(InputError, match="not one of auto, fast, float32"):
        make_plan("bert-tiny", precision="int3")
    with pytest.raises(InputError, match="at least 1"):
        make_plan("bert-tiny", tokens=0)
    with pytest.raises(InputError, match=r"holds no config\.json"):
        make_plan(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 10}', encoding="utf-8")
    with pytest.raises(InputError, match="does not state the sizes of a llama model"):
        make_plan(tmp_path)
    with pytest.raises(InputError, match="'w_proj' is no matrix"):
        adapter_parameters(read_architecture(KNOWN["mistral-7b"], where="here"), rank=1, targets=("w_proj",))


FAMILIES = [
    ("mistral", {}),
    ("mistral", {"tie_word_embeddings": True, "head_dim": 16}),
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    ("qwen2", {"head_dim": None}),
    ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    ("qwen3", {"attention_bias": True}),
    ("gemma2", {}),
]


@pytest.mark.torch
@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_decoders_are_counted_as_transformers_counts_them(tmp_path, family, changes):
    if family == "qwen2":
        changes = {}
    model = make_model(family, **changes)
    model.config.save_pretrained(tmp_path)
    plan = make_plan(tmp_path, tokens=8, batch=1)
    assert plan.parameters == sum(tensor.numel() for tensor in model.parameters())
    assert plan.exact == (family != "gemma2") and plan.vocabulary == 48
    layers = sum(
        tensor.numel() for name, tensor in model.named_parameters() if "proj" in name and tensor.dim() == 2
    )
    architecture = read_architecture(json.loads((tmp_path / "config.json").read_text()), where="here")
    if plan.exact:
        assert architecture.layer_weights == layers
    else:
        assert layers <= architecture.layer_weights < 1.1 * layers


@pytest.mark.torch
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_masked_models_are_counted_as_transformers_counts_them(tmp_path, family):
    from transformers import AutoConfig, AutoModelForMaskedLM

    sizes = {
        "bert": {
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 40,
        },
        "distilbert": {"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40},
    }[family]
    config = AutoConfig.for_model(family, vocab_size=100, **sizes)
    model = AutoModelForMaskedLM.from_config(config)
    folder = tmp_path / "0_MLMTransformer"
    config.save_pretrained(folder)
    plan = make_plan(tmp_path)
    assert plan.parameters == sum(tensor.numel() for tensor in model.parameters())


@pytest.mark.torch
def test_an_adapter_is_counted_as_peft_counts_it():
    model = add_lora(make_model("mistral"), rank=4)
    trained = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    architecture = read_architecture(tiny_config("mistral").to_dict(), where="here")
    assert adapter_parameters(architecture, rank=4, targets=("q_proj", "v_proj", "down_proj")) == trained


@pytest.mark.torch
def test_the_full_size_echo_mistral_has_the_planned_shapes():
    """7 billion parameters on the meta device: shapes without memory."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    from lsr.encoders.decoder import SparseDecoder
    from lsr.encoders.decoder_folder import DecoderSettings

    architecture = read_architecture(KNOWN["mistral-7b"], where="here")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**KNOWN["mistral-7b"]))
        model = model.to(torch.bfloat16)
        assert sum(t.numel() for t in model.parameters()) == architecture.parameters
        adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=8, target_modules=list(LORA_TARGETS)))
        trained = sum(t.numel() for t in adapted.parameters() if t.requires_grad)
        decoder = SparseDecoder(adapted.get_base_model(), DecoderSettings(attention="echo"), columns=32000)
        ids = torch.zeros(8, 512, dtype=torch.int64)
        states = decoder.hidden_states(ids, torch.ones_like(ids))
        weight, bias, scale = decoder.head()
    assert trained == adapter_parameters(architecture, rank=16) == 41_943_040
    assert states.shape == (8, 512, 4096) and states.dtype == torch.bfloat16
    assert weight.shape == (32000, 4096) and bias is None and scale == 1.0
    plan = mistral()
    sizes = {id(t): t.numel() * t.element_size() for t in model.parameters() if not t.requires_grad}
    assert plan.weight_bytes == sum(sizes.values())
    assert plan.avoided_bytes == states.shape[0] * states.shape[1] * len(weight) * 2
    assert plan.fits(16 << 30) and not plan.fits(13 << 30)
