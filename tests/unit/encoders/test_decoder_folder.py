"""The folder of a decoder: settings, fingerprint, a base elsewhere, and what is refused."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from decoder_models import add_lora, make_model, make_tokenizer

from lsr.encoders.decoder_folder import (
    ADAPTER_WEIGHTS,
    CONFIG,
    DecoderSettings,
    is_decoder_folder,
    read_decoder_folder,
    read_query_table,
    read_settings,
)
from lsr.errors import InputError, InputFileError, LsrError


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("attention", "both"),
        ("head", None),
        ("pool", "mean"),
        ("activation", "gelu"),
        ("dtype", "int8"),
        ("queries", "none"),
        ("load_in", "2bit"),
        ("document_prompt", 3),
        ("max_length", 0),
        ("max_length", True),
        ("max_length", 2.5),
        ("max_active_dims", 0),
        ("pruning_ratio", 1.0),
        ("pruning_ratio", -0.1),
    ],
)
def test_settings_are_checked(option, value):
    with pytest.raises(InputError, match=option):
        DecoderSettings(**{option: value})


def test_a_folder_without_our_file_is_none_of_ours(tmp_path):
    assert not is_decoder_folder(tmp_path)
    for read in (read_decoder_folder, read_settings):
        with pytest.raises(InputFileError, match=r"holds no lsr_decoder\.json"):
            read(tmp_path)


def write(path, **changes):
    from lsr.encoders.decoder_writer import write_decoder_folder

    settings = DecoderSettings(max_length=32, **changes.pop("settings", {}))
    model = changes.pop("model", None)
    options = {"tokenizer": make_tokenizer(), "settings": settings, **changes}
    return write_decoder_folder(path, model=make_model() if model is None else model, **options)


def restate(path, **changes):
    stated = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    (path / CONFIG).write_text(json.dumps({**stated, **changes}), encoding="utf-8")


@pytest.mark.torch
def test_what_is_written_is_read_back(tmp_path):
    model = make_model()
    table = np.linspace(0, 2, 32, dtype=np.float32)
    settings = {"attention": "bidirectional", "queries": "table", "pruning_ratio": 0.1, "max_active_dims": 9}
    written = write(
        tmp_path / "m", model=model, settings=settings, adapter=add_lora(model), query_table=table
    )
    folder = read_decoder_folder(tmp_path / "m")
    assert folder == written and folder.name == "m" and len(folder.fingerprint) == 32
    assert folder.settings == DecoderSettings(max_length=32, **settings) == read_settings(tmp_path / "m")
    assert folder.config["model_type"] == "mistral" and folder.adapter == tmp_path / "m" / "adapter"
    assert np.array_equal(read_query_table(folder.query_table, 32), table)
    with pytest.raises(InputError, match="one weight for each of 33 tokens"):
        read_query_table(folder.query_table, 33)
    suffixes = {file.suffix for file in (tmp_path / "m").rglob("*") if file.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md"}
    config = json.loads((folder.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] is None


@pytest.mark.torch
def test_the_base_is_written_as_if_no_adapter_had_been_set_into_it(tmp_path):
    import torch
    from safetensors.torch import load_file

    plain = make_model().state_dict()
    model = make_model()
    write(tmp_path, model=model, adapter=add_lora(model))
    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(plain)
    assert all(torch.equal(saved[name], plain[name]) for name in plain)


@pytest.mark.torch
def test_the_fingerprint_is_of_content_and_not_of_place_or_time(tmp_path):
    model = make_model()
    first = write(tmp_path / "a", model=model, adapter=add_lora(model))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for file in (tmp_path / "b").rglob("*"):
        os.utime(file, (1, 1))
    assert read_decoder_folder(tmp_path / "b").fingerprint == first.fingerprint


@pytest.mark.torch
@pytest.mark.parametrize("part", ["weights", "adapter", "tokenizer", "beside", "settings"])
def test_the_fingerprint_changes_with_everything_that_a_vector_depends_on(tmp_path, part):
    model = make_model()
    before = write(tmp_path, model=model, adapter=add_lora(model))
    if part == "settings":
        restate(tmp_path, settings={"max_length": 31})
    elif part == "beside":
        (tmp_path / "tokenizer_config.json").write_text('{"truncation_side": "left"}', encoding="utf-8")
    elif part == "tokenizer":
        make_tokenizer(begin=False).save(str(tmp_path / "tokenizer.json"))
    else:
        # The same size and time: only the content tells.
        file = tmp_path / ("model.safetensors" if part == "weights" else f"adapter/{ADAPTER_WEIGHTS}")
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        stat = file.stat()
        file.write_bytes(data)
        os.utime(file, (stat.st_atime, stat.st_mtime))
    assert read_decoder_folder(tmp_path).fingerprint != before.fingerprint


@pytest.mark.torch
def test_a_base_may_lie_elsewhere_and_must_be_the_same(tmp_path):
    whole = write(tmp_path / "whole")
    model = make_model()
    adapted = add_lora(model)
    apart = write(tmp_path / "apart", model=tmp_path / "whole", adapter=adapted)
    assert apart.base == tmp_path / "whole" and not (tmp_path / "apart" / "model.safetensors").exists()
    together = write(tmp_path / "together", model=model, adapter=adapted)
    assert apart.fingerprint == together.fingerprint != whole.fingerprint
    with pytest.raises(InputError, match=r"lies elsewhere; say where with base="):
        read_decoder_folder(tmp_path / "apart")
    with pytest.raises(InputFileError, match="no folder"):
        read_decoder_folder(tmp_path / "apart", base=tmp_path / "nowhere")
    write(tmp_path / "other", model=make_model(seed=3))
    with pytest.raises(InputError, match="not the base model"):
        read_decoder_folder(tmp_path / "apart", base=tmp_path / "other")


@pytest.mark.torch
def test_sharded_weights_are_read(tmp_path):
    write(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    (tmp_path / "many" / "model.safetensors").unlink()
    make_model().save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert (tmp_path / "many" / "model.safetensors.index.json").is_file()
    read_decoder_folder(tmp_path / "many")
    index = tmp_path / "many" / "model.safetensors.index.json"
    stated = json.loads(index.read_text(encoding="utf-8"))
    stated["weight_map"] = dict.fromkeys(stated["weight_map"], "../one/model.safetensors")
    index.write_text(json.dumps(stated), encoding="utf-8")
    with pytest.raises(LsrError, match="outside"):
        read_decoder_folder(tmp_path / "many")


@pytest.mark.torch
@pytest.mark.parametrize("key", ["base", "adapter"])
@pytest.mark.parametrize("value", ["..", "../other", "/etc", 7])
def test_a_folder_names_nothing_outside_itself(tmp_path, key, value):
    write(tmp_path / "m")
    (tmp_path / "other").mkdir()
    restate(tmp_path / "m", **{key: value})
    with pytest.raises(InputError, match=r"names .*(outside|where a path belongs)"):
        read_decoder_folder(tmp_path / "m")


@pytest.mark.torch
def test_a_link_out_of_the_folder_is_refused(tmp_path):
    model = make_model()
    write(tmp_path / "m", model=model, adapter=add_lora(model))
    shutil.move(tmp_path / "m" / "adapter", tmp_path / "elsewhere")
    (tmp_path / "m" / "adapter").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="outside"):
        read_decoder_folder(tmp_path / "m")


@pytest.mark.torch
def test_damaged_newer_and_pickled_folders_are_explained(tmp_path):
    write(tmp_path)
    good = (tmp_path / CONFIG).read_text(encoding="utf-8")
    for change in ({"format": 2}, {"settings": {"rotation": 3}}):
        restate(tmp_path, **change)
        with pytest.raises(InputError, match="newer version"):
            read_decoder_folder(tmp_path)
        (tmp_path / CONFIG).write_text(good, encoding="utf-8")
    for text in ("[]", "{", '{"format": "1", "settings": {}}', '{"format": 1, "settings": []}'):
        (tmp_path / CONFIG).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"lsr_decoder\.json"):
            read_decoder_folder(tmp_path)
    (tmp_path / CONFIG).write_text(good, encoding="utf-8")
    (tmp_path / "tokenizer.json").rename(tmp_path / "hidden")
    with pytest.raises(InputFileError, match=r"lacks its file tokenizer\.json"):
        read_decoder_folder(tmp_path)
    (tmp_path / "hidden").rename(tmp_path / "tokenizer.json")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(LsrError, match=r"pytorch_model\.bin"):
        read_decoder_folder(tmp_path)


@pytest.mark.torch
def test_a_table_and_its_setting_belong_together(tmp_path):
    with pytest.raises(InputError, match="belong together"):
        write(tmp_path, query_table=np.ones(32, np.float32))
    with pytest.raises(InputError, match="belong together"):
        write(tmp_path, settings={"queries": "table"})


@pytest.mark.torch
def test_the_hub_is_asked_for_a_name_of_the_hub_alone(tmp_path, monkeypatch):
    from huggingface_hub import constants

    write(tmp_path / "whole")
    write(tmp_path / "apart", model=tmp_path / "whole")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"hf:nobody/nothing could not be fetched"):
        read_decoder_folder(tmp_path / "apart", base="hf:nobody/nothing")
    with pytest.raises(InputFileError, match="no folder nobody/nothing"):
        read_decoder_folder(tmp_path / "apart", base="nobody/nothing")
