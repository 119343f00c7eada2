"""`lsr models`: the encoders that are known, and what one would need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lsr.cli.options import common_options, json_option, print_json
from lsr.errors import InputError, InputFileError, UnknownEncoderError

SAMPLE = 64
TOKENS = 256

KINDS = {
    "lexical": "the words of a text, weighed as BM25 does; no neural part",
    "projected": "the words of a text, and the terms that a small sentence encoder learned to add to them",
    "sparse folder": "a masked language model of the SPLADE kind",
    "decoder": "a causal language model, read as a sparse encoder",
}
"""What each kind of model does, in a line."""


@click.command("models", short_help="List the encoders, or plan what one would need.")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--plan", metavar="NAME", help="What an encoder needs here: memory, time, documents an hour.")
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"With --plan: word pieces of a document [default: {TOKENS}, or a bundled model's own limit].",
)
@json_option
@common_options
def command(folders: tuple[Path, ...], plan: str | None, tokens: int | None, as_json: bool) -> None:
    """List the bundled encoders and those in FOLDERs, or plan what one would need.

    A bundled model is measured: it encodes a few documents of the demo corpus. A language model (a folder,
    or a name like mistral-7b, of which nothing need be there) is computed from its configuration: parameters,
    memory, and documents an hour on this machine and on some accelerators.

    \b
    Example:
      lsr models
      lsr models my-model
      lsr models --plan default
      lsr models --plan mistral-7b --tokens 512
    """
    if plan is None:
        if tokens is not None:
            raise InputError("--tokens goes with --plan NAME.")
        models = [*_bundled(), *map(_folder_facts, folders)]
        if as_json:
            print_json(models)
        else:
            _print_models(models)
    elif folders:
        raise InputError("--plan names one model; leave the FOLDER out, or give it as --plan FOLDER.")
    elif _is_own(plan):
        found = _measure(plan, tokens)
        if as_json:
            print_json(found)
        else:
            _print_measured(found)
    else:
        _compute(plan, tokens or TOKENS, as_json)


# The list


def _bundled() -> list[dict[str, Any]]:
    from lsr.encoders.loading import ALIASES, bundled_models

    found = []
    for name, path in bundled_models().items():
        aliases = sorted(alias for alias, meant in ALIASES.items() if meant == name)
        found.append({**_folder_facts(path), "aliases": aliases, "default": "default" in aliases})
    return found


def _folder_facts(path: Path) -> dict[str, Any]:
    """What a model folder says of itself, without loading the model."""
    from lsr.encoders.decoder_folder import is_decoder_folder, read_settings
    from lsr.encoders.folder import is_model_folder, read_folder
    from lsr.encoders.sparse_folder import is_sparse_folder, read_sparse_folder

    max_length: int | None
    name, description, query_weights = path.resolve().name, "", "model"
    if not path.is_dir():
        raise InputFileError(f"{path} is no folder; give the folder of a model.")
    if is_model_folder(path):
        settings = read_folder(path).settings
        name, kind = str(settings["name"]), str(settings.get("kind"))
        description = str(settings.get("description", ""))
        query_weights = str(settings.get("query_weights"))
        max_length = settings.get("body", {}).get("max_length")
    elif is_decoder_folder(path):
        kind, max_length = "decoder", read_settings(path).max_length
    elif is_sparse_folder(path):
        kind, max_length = "sparse folder", read_sparse_folder(path).document.max_length
    else:
        raise InputError(f"{path} holds no model that lsr reads; give the folder of one.")
    return {
        "name": name,
        "aliases": [],
        "default": False,
        "kind": kind,
        "description": description or KINDS.get(kind, f"kind {kind}"),
        "max_length": max_length,
        "query_weights": query_weights,
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "path": str(path),
    }


def _print_models(models: list[dict[str, Any]]) -> None:
    from lsr.cli.show import dim, fit, strong, width

    for model in models:
        mark = " (the default)" if model["default"] else ""
        reads = f"reads {model['max_length']} word pieces" if model["max_length"] else "reads whole texts"
        facts = f"{model['kind']}, {model['bytes'] / 1e6:,.1f} MB, {reads}"
        click.echo(f"{strong(fit(model['name'], 40))}{mark}  {dim(facts)}")
        click.echo(f"    {fit(model['description'], width() - 4)}")
    click.echo(
        dim("A model folder can be named wherever a model can; lsr models --plan NAME says what one needs.")
    )


# The plan of a model of our own: measured


def _is_own(name: str) -> bool:
    from lsr.encoders.folder import is_model_folder
    from lsr.encoders.loading import bundled_models, resolve_name

    return resolve_name(name) in bundled_models() or is_model_folder(Path(name))


def _measure(name: str, tokens: int | None) -> dict[str, Any]:
    import time
    from itertools import islice

    from lsr.data.demo_corpus import demo_folder
    from lsr.encoders.loading import load_encoder
    from lsr.survey import measure_speed

    started = time.perf_counter()
    encoder = load_encoder(name)
    if tokens is not None and encoder.max_length is None:
        raise InputError(f"{encoder.name} reads whole texts, whatever their length; leave --tokens out.")
    encoder.encode_batch(["A model is loaded whole when it reads its first text."])
    loading = time.perf_counter() - started
    texts = [document.text for document in islice(demo_folder().documents(), SAMPLE)]
    if tokens is not None:
        texts = [" ".join([text] * (1 + tokens // max(len(text.split()), 1))) for text in texts]
    rate = measure_speed(encoder, texts, max_length=tokens)
    batch = encoder.encode_batch(texts, max_length=tokens)
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "terms": len(encoder.vocabulary),
        "max_length": tokens or encoder.max_length,
        "load_seconds": loading,
        "documents_per_second": rate,
        "documents_per_hour": rate * 3600,
        "hours_per_million": 1e6 / rate / 3600,
        "terms_per_document": len(batch.values) / len(texts),
        "peak_memory_bytes": _peak_memory(),
        "words_per_document": sum(len(text.split()) for text in texts) / len(texts),
    }


def _peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; None where the system does not say."""
    import sys

    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _print_measured(found: dict[str, Any]) -> None:
    from lsr.cli.show import dim, strong
    from lsr.progress import duration

    click.echo(strong(found["name"]))
    rows = [
        (
            "speed",
            f"{found['documents_per_second']:,.0f} documents a second, "
            f"{found['documents_per_hour']:,.0f} an hour",
        ),
        ("a million", duration(found["hours_per_million"] * 3600)),
        ("terms", f"{found['terms_per_document']:.0f} a document, of {found['terms']:,} named ones"),
        (
            "reads",
            f"{found['max_length']} word pieces of a text" if found["max_length"] else "whole texts",
        ),
        ("loading", duration(found["load_seconds"])),
    ]
    if found["peak_memory_bytes"]:
        rows.append(("memory", f"{found['peak_memory_bytes'] / 1e6:,.0f} MB at most, so far"))
    for name, value in rows:
        click.echo(f"  {name:<10} {value}")
    words = f"{found['words_per_document']:.0f} words"
    click.echo(dim(f"Measured over {SAMPLE} texts of {words} on average; longer ones take longer."))


# The plan of a language model: computed


def _compute(name: str, tokens: int, as_json: bool) -> None:
    from lsr.cli.show import dim, strong
    from lsr.encoders.plan import make_plan

    _check_known(name)
    plan = make_plan(name, tokens=tokens)
    if as_json:
        print_json(plan.to_json())
        return
    first, *others = plan.lines()
    click.echo(strong(first))
    for line in others:
        click.echo(f"  {line}")
    click.echo(dim("Parameters and weights are counted; activations and documents an hour are estimates."))


def _check_known(name: str) -> None:
    from lsr.encoders.loading import bundled_models
    from lsr.encoders.plan_architecture import KNOWN

    if name not in KNOWN and not Path(name).is_dir():
        bundled = ", ".join(["default", *bundled_models()])
        raise UnknownEncoderError(
            f"There is no encoder {name!r} to plan: bundled are {bundled}, known by their sizes are "
            f"{', '.join(KNOWN)}; otherwise give a folder."
        )
