"""From what a caller asks for to the systems of a report: encoders, vectors, baselines, fusions.

Everything that can be wrong with a system is found here, before the first document is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsr.api import Mode
from lsr.encoders.loading import load_encoder
from lsr.encoders.protocol import Encoder
from lsr.errors import InputError
from lsr.eval.baselines import make_baseline
from lsr.eval.engine import EncoderSystem, Quantize
from lsr.eval.fusion import Fusion, parse_fusion
from lsr.eval.systems import System
from lsr.eval.vector_system import VectorSystem

Precision = Literal["auto", "fast"]

QUANTISATIONS: tuple[Quantize, ...] = ("u8", "u16", "f32")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants to have measured; see `lsr.eval.runner.evaluate_beir`."""

    encoders: Sequence[str | Path | Encoder] = ("default",)
    baselines: Sequence[str] = ()
    precision: Precision = "auto"
    modes: Sequence[Mode] = ("exact",)
    overlaps: Sequence[float] = ()
    quantize: Sequence[Quantize] = ("u8",)
    vectors: Sequence[str] = ()
    fusions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The systems of a report.

    Attributes:
        systems: Under distinct names: encoders, vectors, baselines.
        fusions: Each of two of the systems.
        reference: The name of the one that the others are compared with.
        notes: What was asked for and left out, and why.
    """

    systems: tuple[System, ...]
    fusions: tuple[Fusion, ...]
    reference: str
    notes: tuple[str, ...] = ()


def choose_systems(wish: Wish) -> Chosen:
    """Loads all that a wish names.

    Raises:
        InputError: A name, an option or a combination of them that cannot be used.
        UnknownEncoderError: An encoder is not there.
        MissingExtraError: A baseline is not installed.
    """
    _check_options(wish)
    aliases: dict[str, str] = {}
    notes: list[str] = []
    systems: list[System] = list(_encoder_systems(wish, aliases))
    systems += _vector_systems(wish)
    compared = []
    for kind in dict.fromkeys(wish.baselines):
        compared.append(make_baseline(kind))
        aliases[kind] = compared[-1].name
    systems += compared
    names = [system.name for system in systems]
    _check_names(names)
    fusions = tuple(dict.fromkeys(parse_fusion(given, names, aliases) for given in wish.fusions))
    return Chosen(tuple(systems), fusions, compared[0].name if compared else names[0], tuple(notes))


def _check_options(wish: Wish) -> None:
    for name in wish.quantize:
        if name not in QUANTISATIONS:
            raise InputError(f"There is no quantisation {name!r}: choose u8, u16 or f32.")
    for mode in wish.modes:
        if mode not in ("exact", "approximate"):
            raise InputError(f"There is no mode {mode!r}: choose exact or approximate.")
    for overlap in wish.overlaps:
        if not 0 < overlap <= 1:
            raise InputError(f"The overlap {overlap:g} cannot be used: give a share above 0 and up to 1.")
    if wish.overlaps and "approximate" not in wish.modes:
        raise InputError("--overlap goes with --mode approximate; an exact search finds all of the top k.")


def _encoder_systems(wish: Wish, aliases: dict[str, str]) -> Iterator[System]:
    """Every encoder (each once) at every quantisation and in every mode; the exact mode always runs."""
    quantisations = list(dict.fromkeys(wish.quantize)) or ["u8"]
    for name, encoder in _load_encoders(wish, aliases).items():
        for quantize in quantisations:
            shared = len(quantisations) > 1
            for mode, overlap in _modes(wish):
                yield EncoderSystem(
                    encoder,
                    name,
                    quantize=quantize,
                    mode=mode,
                    overlap=overlap,
                    precision=wish.precision,
                    shared=shared,
                )


def _modes(wish: Wish) -> Iterator[tuple[Mode, float | None]]:
    yield "exact", None
    if "approximate" in wish.modes:
        for overlap in dict.fromkeys(wish.overlaps) or (None,):
            yield "approximate", overlap


def _load_encoders(wish: Wish, aliases: dict[str, str]) -> dict[str, Encoder]:
    """The encoders under distinct names, each once."""
    found: dict[str, Encoder] = {}
    for given in wish.encoders:
        is_name = isinstance(given, str | Path)
        encoder = load_encoder(given, precision=wish.precision) if isinstance(given, str | Path) else given
        known = next((name for name, one in found.items() if one.fingerprint == encoder.fingerprint), None)
        if known is None:
            known = f"{encoder.name} {encoder.fingerprint[:8]}" if encoder.name in found else encoder.name
            found[known] = encoder
        if is_name:
            aliases[str(given)] = known
    return found


def _vector_systems(wish: Wish) -> Iterator[System]:
    for given in dict.fromkeys(wish.vectors):
        documents, comma, queries = given.rpartition(",")
        if not comma or not documents or not queries:
            raise InputError(f"The vectors {given!r} are not two files: write DOCUMENTS.npz,QUERIES.npz.")
        for quantize in dict.fromkeys(wish.quantize):
            yield VectorSystem(Path(documents), Path(queries), quantize=quantize)


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise InputError("There is no system to measure: name an encoder or a baseline.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two systems would be called {name!r} in the report: rename the folder of one.")
