"""Models of the Hugging Face hub: the only place that touches the network, and only for `hf:` names."""

from __future__ import annotations

from pathlib import Path

from lsr.errors import InputError

_WANTED = ("*.json", "*.safetensors", "*.txt", "**/*.json", "**/*.safetensors", "**/*.txt")
_UNWANTED = ("onnx/**", "openvino/**", "**/onnx/**", "**/openvino/**")


def fetch_model(name: str) -> Path:
    """The folder of a hub model, downloaded into Hugging Face's own cache if it is not there.

    Args:
        name: `"hf:org/name"`, or `"hf:org/name@revision"`.

    Raises:
        InputError: No such model, or no way to it.
    """
    from huggingface_hub import snapshot_download

    model, _, revision = name.removeprefix("hf:").partition("@")
    try:
        return Path(
            snapshot_download(
                model,
                revision=revision or None,
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
            )
        )
    except Exception as error:  # the library raises errors of several libraries below it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name} could not be fetched from the hub ({reason.rstrip('.')}); "
            "check its name and the network, or give the folder of a copy."
        ) from error
