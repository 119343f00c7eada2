"""`lsr info`: what is inside an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsr.cli.options import common_options, index_argument, json_option, print_json

if TYPE_CHECKING:
    from lsr.api import Index


@click.command("info", short_help="Show what is inside an index.")
@index_argument
@json_option
@common_options
def command(directory: Path, as_json: bool) -> None:
    """Show what is inside an index: documents, encoder, sizes, and weights that were clipped.

    \b
    Example:
      lsr info papers.lsr
      lsr info papers.lsr --json
    """
    from lsr.api import Index

    with Index.open(directory) as index:
        found = _describe(index)
    if as_json:
        print_json(found)
    else:
        _print(found)


_LEAST_OVERLAP = 0.9


def _describe(index: Index) -> dict[str, Any]:
    settings, snapshot = index.settings, index.snapshot
    postings = sum(segment.layout.postings for segment in snapshot.segments)
    layout_bytes = sum(segment.layout.nbytes for segment in snapshot.segments)
    total = sum(file.stat().st_size for file in index.path.iterdir() if file.is_file())
    stored = sum(segment.stored_bytes for segment in snapshot.segments)
    largest = None
    if settings.scale is not None:
        largest = settings.scale * {"u8": 255, "u16": 65_535}[settings.quantize]
    return {
        "path": str(index.path),
        "documents": len(index),
        "deleted": snapshot.documents - len(index),
        "segments": len(snapshot.segments),
        "encoder": settings.encoder_name,
        "encoder_fingerprint": settings.encoder_fingerprint,
        "query_weights": settings.query_weights,
        "quantize": settings.quantize,
        "scale": settings.scale,
        "max_document_weight": largest,
        "clipped": snapshot.clipped,
        "dimension": settings.dimension,
        "terms_per_document": postings / max(snapshot.documents, 1),
        "max_length": settings.max_length,
        "long_documents": settings.long_documents,
        "fields": dict(settings.fields),
        "compress": settings.compress,
        "bytes": total,
        "index_bytes": total - stored,
        "stored_bytes": stored,
        "bytes_per_posting": round(layout_bytes / postings, 3) if postings else None,
        "calibration": [
            None if segment.calibration is None else segment.calibration.to_json()
            for segment in snapshot.segments
        ],
    }


def _print(found: dict[str, Any]) -> None:
    from lsr.cli.show import strong

    deleted = f" ({found['deleted']:,} replaced ones still take room)" if found["deleted"] else ""
    weights = {
        "corpus": "of this index's own document frequencies",
        "model": "of the model's own table",
        None: "given with each query",
    }
    steps = {"u8": "255 steps", "u16": "65,535 steps", "f32": "32-bit floats"}[found["quantize"]]
    up_to = f" up to {found['max_document_weight']:.4g}" if found["max_document_weight"] else ""
    rows = [
        ("documents", f"{found['documents']:,}{deleted}"),
        ("segments", f"{found['segments']:,}"),
        ("encoder", found["encoder"] or "none (vectors made elsewhere)"),
        ("fingerprint", found["encoder_fingerprint"]),
        ("terms", f"{found['terms_per_document']:.1f} a document, in {found['dimension']:,} columns"),
        ("weights", f"{steps}{up_to}; {found['clipped']:,} clipped"),
        ("queries", f"weights {weights[found['query_weights']]}"),
        ("reads", found["max_length"] and f"{found['max_length']} word pieces of a text"),
        ("fields", ", ".join(f"{name}: {kind}" for name, kind in found["fields"].items())),
        ("on disk", f"{_size(found['bytes'])} ({_size(found['stored_bytes'])} of them stored documents)"),
    ]
    if found["bytes_per_posting"]:
        packed = ", compressed" if found["compress"] else ""
        size = f"{found['bytes_per_posting']:.2f} bytes each, bounds and tables included{packed}"
        rows.append(("postings", size))
    rows += _overlap_rows(found["calibration"])
    click.echo(strong(found["path"]))
    for name, value in rows:
        if value:
            click.echo(f"  {name:<12} {value}")


def _overlap_rows(calibrations: list[dict[str, Any] | None]) -> list[tuple[str, str]]:
    """What the first calibrated segment measured of approximate search."""
    known = [one for one in calibrations if one is not None]
    if not known:
        return [("approximate", "as exact: no segment is large enough to leave anything out")]
    rows: list[tuple[str, str]] = []
    for curve in known[0]["curves"]:
        points = [
            f"{factor:g}: {share:.3f}"
            for factor, share in zip(known[0]["factors"], curve["overlaps"], strict=True)
            if share >= _LEAST_OVERLAP
        ]
        title = "" if rows else "approximate"
        queries = f"queries of {curve['terms']} terms, k = {curve['depth']}"
        rows.append((title, f"{queries}: share found by factor on the bounds, {', '.join(points)}"))
    return rows


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} bytes"
