"""`lsr models`: the encoders that are known, and what one would need."""

from __future__ import annotations

from typing import Any

import click

from lsr.cli.options import common_options, json_option, print_json

SAMPLE = 64

KINDS = {
    "lexical": "the words of a text, weighed as BM25 does; no neural part",
    "projected": "the words of a text, and the terms that a small sentence encoder learned to add to them",
}
"""What each kind of model does, in a line."""


@click.command("models", short_help="List the encoders, or plan what one would need.")
@click.option(
    "--plan", metavar="NAME", help="Measure an encoder here: speed, memory, hours for a million documents."
)
@json_option
@common_options
def command(plan: str | None, as_json: bool) -> None:
    """List the bundled encoders, or measure what one would need on this machine.

    NAME is a bundled name or a model folder. The measurement encodes a few documents of the demo corpus.

    \b
    Example:
      lsr models
      lsr models --plan default
    """
    if plan is not None:
        found = _measure(plan)
        if as_json:
            print_json(found)
        else:
            _print_plan(found)
        return
    models = _list()
    if as_json:
        print_json(models)
    else:
        _print_models(models)


def _list() -> list[dict[str, Any]]:
    from lsr.encoders.folder import read_folder
    from lsr.encoders.loading import ALIASES, bundled_models

    found = []
    for name, path in bundled_models().items():
        settings = read_folder(path).settings
        found.append(
            {
                "name": name,
                "aliases": sorted(alias for alias, meant in ALIASES.items() if meant == name),
                "kind": settings.get("kind"),
                "description": settings.get("description", ""),
                "query_weights": settings.get("query_weights"),
                "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
            }
        )
    return found


def _print_models(models: list[dict[str, Any]]) -> None:
    from lsr.cli.show import dim, fit, strong, width

    for model in models:
        alias = f" (also {', '.join(model['aliases'])})" if model["aliases"] else ""
        size = f"{model['bytes'] / 1e6:.1f} MB"
        click.echo(f"{strong(model['name'])}{alias}  {dim(size)}")
        what = model["description"] or KINDS.get(model["kind"], f"kind {model['kind']}")
        click.echo(f"    {fit(what, width() - 4)}")
    click.echo(dim("A model folder can be named wherever a model can; lsr models --plan NAME measures one."))


def _measure(name: str) -> dict[str, Any]:
    import time
    from itertools import islice

    from lsr.data.demo_corpus import demo_folder
    from lsr.encoders.loading import load_encoder
    from lsr.survey import measure_speed

    started = time.perf_counter()
    encoder = load_encoder(name)
    encoder.encode_batch(["A model is loaded whole when it reads its first text."])
    loading = time.perf_counter() - started
    texts = [document.text for document in islice(demo_folder().documents(), SAMPLE)]
    rate = measure_speed(encoder, texts)
    batch = encoder.encode_batch(texts)
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "terms": len(encoder.vocabulary),
        "max_length": encoder.max_length,
        "load_seconds": loading,
        "documents_per_second": rate,
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


def _print_plan(found: dict[str, Any]) -> None:
    from lsr.cli.show import dim, strong
    from lsr.progress import duration

    click.echo(strong(found["name"]))
    rows = [
        ("speed", f"{found['documents_per_second']:,.0f} documents a second"),
        ("a million", duration(found["hours_per_million"] * 3600)),
        ("terms", f"{found['terms_per_document']:.0f} a document, of {found['terms']:,} named ones"),
        (
            "reads",
            f"{found['max_length'] or 'all'} word pieces of a text" if found["max_length"] else "whole texts",
        ),
        ("loading", duration(found["load_seconds"])),
    ]
    if found["peak_memory_bytes"]:
        rows.append(("memory", f"{found['peak_memory_bytes'] / 1e6:,.0f} MB at most, so far"))
    for name, value in rows:
        click.echo(f"  {name:<10} {value}")
    words = f"{found['words_per_document']:.0f} words"
    click.echo(dim(f"Measured over {SAMPLE} texts of {words} on average; longer ones take longer."))
