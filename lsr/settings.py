"""What is fixed when an index is made: which encoder, which scale, which query side.

`lsr.api` and `lsr.building` make an index from the same plan; `encoder_of` finds the encoder of an index
again, and refuses another one.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from lsr import __version__
from lsr.cache import cache_root, keep
from lsr.encoders.loading import Device, Precision, load_encoder
from lsr.encoders.protocol import Encoder
from lsr.encoders.queries import VocabularyQueries
from lsr.errors import EncoderMismatchError, InputError, UnknownEncoderError, UnsupportedError
from lsr.index.columns import check_fields
from lsr.index.memory import read_memory
from lsr.index.quantise import check_quantize, step_for
from lsr.index.store import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """An index that is about to be made.

    Attributes:
        settings: What its catalog will hold.
        query_side: The bytes that turn its queries into weights.
        encoder: What encodes its documents; None for vectors made elsewhere.
    """

    settings: Settings
    query_side: bytes
    encoder: Encoder | None


def plan_index(
    encoder: str | Path | Encoder | None = "default",
    *,
    loaded: Encoder | None = None,
    vocabulary: Sequence[str] | None = None,
    max_document_weight: float | None = None,
    fields: Mapping[str, str] | None = None,
    long_documents: str = "truncate",
    query_weights: str | None = None,
    quantize: str = "u8",
    memory: int | str | None = None,
    max_length: int | None = None,
    compress: bool = False,
) -> Plan:
    """Checks the options of a new index and fixes what is open; see `lsr.api.Index.create`.

    Args:
        encoder: A name, a loaded encoder, or None.
        loaded: The encoder of that name, where it is loaded already.
        vocabulary: See `create`, as for the others.
        max_length: Word pieces that the neural side reads; None for the encoder's own limit.
        compress: Write segments that take less room.

    Raises:
        InputError: An option that cannot be used.
        UnknownEncoderError: No such encoder.
    """
    check_quantize(quantize)
    check_fields(fields or {})
    size = read_memory(memory)
    if long_documents != "truncate":
        raise UnsupportedError(
            f'long_documents={long_documents!r} is not there in this version; "truncate" is the only choice.'
        )
    if query_weights not in (None, "corpus", "model"):
        raise InputError(f'query_weights={query_weights!r} is unknown; choose "corpus" or "model".')
    if encoder is None:
        return _plan_vectors(
            vocabulary, max_document_weight, dict(fields or {}), query_weights, quantize, size, compress
        )
    if vocabulary is not None or max_document_weight is not None:
        raise InputError(
            "vocabulary= and max_document_weight= go with encoder=None; an encoder brings its own of both."
        )
    loaded, name = _load(encoder, loaded)
    largest = largest_weight_of(loaded)
    side = loaded.query_side()
    if query_weights == "corpus" and not side.weighs_by_corpus:
        raise InputError(
            f'The queries of {loaded.name!r} carry the model\'s own weights; use query_weights="model".'
        )
    settings = Settings(
        kind="documents",
        quantize=quantize,
        scale=step_for(largest, quantize),
        dimension=side.dimension,
        fields=dict(fields or {}),
        encoder_name=name,
        encoder_fingerprint=loaded.fingerprint,
        query_weights=query_weights or loaded.default_query_weights,
        long_documents=long_documents,
        memory=size,
        max_length=max_length,
        compress=bool(compress),
    )
    return Plan(settings, side.to_bytes(), loaded)


def _plan_vectors(
    vocabulary: Sequence[str] | None,
    largest: float | None,
    fields: dict[str, str],
    query_weights: str | None,
    quantize: str,
    memory: int | None,
    compress: bool,
) -> Plan:
    if vocabulary is None:
        raise InputError("An index without an encoder needs vocabulary=, the name of each column.")
    if query_weights is not None:
        raise InputError(
            "query_weights= goes with an encoder; vectors made elsewhere are asked with vectors."
        )
    terms = list(vocabulary)
    if not all(isinstance(term, str) for term in terms):
        raise InputError("vocabulary= holds strings, the name of each column.")
    side = VocabularyQueries(terms)
    settings = Settings(
        kind="documents",
        quantize=quantize,
        scale=step_for(largest, quantize),
        dimension=side.dimension,
        fields=fields,
        encoder_name=None,
        encoder_fingerprint=None,
        query_weights=None,
        memory=memory,
        compress=bool(compress),
    )
    return Plan(settings, side.to_bytes(), None)


def encoder_of(
    settings: Settings,
    encoder: Encoder | None = None,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
) -> Encoder:
    """The encoder that an index was made by.

    Args:
        settings: The index's.
        encoder: One that is loaded already, or None to load the index's own.
        device: Where to run it.
        precision: Its arithmetic.

    Raises:
        EncoderMismatchError: The index has none, or it is gone, or it is another now.
    """
    wanted = settings.encoder_name
    if wanted is None:
        raise EncoderMismatchError(
            "This index holds vectors made elsewhere and has no encoder for texts; add vectors to it "
            "(index.add_vectors, or lsr index --vectors FILE --append)."
        )
    if encoder is None:
        try:
            encoder = load_encoder(wanted, device=device, precision=precision)
        except (UnknownEncoderError, UnsupportedError) as error:
            raise EncoderMismatchError(
                f"This index was made by the encoder {wanted!r}, which is not there any more "
                f"({str(error).rstrip('.')}); {_REMEDY}"
            ) from error
    if encoder.fingerprint != settings.encoder_fingerprint:
        raise EncoderMismatchError(
            f"This index was made by the encoder {wanted!r} ({_short(settings.encoder_fingerprint)}), "
            f"and {encoder.name!r} ({_short(encoder.fingerprint)}) makes other vectors; {_REMEDY}"
        )
    return encoder


_REMEDY = (
    "use the first, or build the index again from the documents with lsr index --overwrite "
    "(lsr reindex will do it from the stored text in a later version)."
)


def _short(fingerprint: str | None) -> str:
    return (fingerprint or "no fingerprint")[:12]


def _load(encoder: str | Path | Encoder, loaded: Encoder | None) -> tuple[Encoder, str]:
    """An encoder and the name under which it is found again."""
    if isinstance(encoder, str | Path):
        encoder = loaded or load_encoder(encoder)
    return encoder, encoder.reference


def largest_weight_of(encoder: Encoder) -> float:
    """The weight by which an index of an encoder is scaled: what its folder states, else a measured one.

    What was measured is kept in the cache folder under the hash of the encoder's fingerprint. A cache that
    cannot be read or written costs another measurement, and is no failure.

    Raises:
        InputError: The encoder gives no weights.
    """
    if encoder.max_document_weight is not None:
        return encoder.max_document_weight
    if not encoder.fingerprint:
        return measure_largest_weight(encoder)
    name = blake2b(encoder.fingerprint.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    file = cache_root() / "largest-weights" / f"{name}-{__version__}.json"
    kept = _read_kept(file, encoder.fingerprint)
    if kept is None:
        kept = measure_largest_weight(encoder)
        facts = {"fingerprint": encoder.fingerprint, "largest": kept}
        with contextlib.suppress(OSError):
            keep(file, json.dumps(facts).encode("utf-8"))
    return kept


def _read_kept(file: Path, fingerprint: str) -> float | None:
    """A weight that was measured before, or None if there is none that can be used."""
    try:
        kept = json.loads(file.read_bytes())
        largest = float(kept["largest"])
        usable = kept["fingerprint"] == fingerprint and 0 < largest < math.inf
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return largest if usable else None


def measure_largest_weight(encoder: Encoder, *, texts: int = 256, margin: float = 1.25) -> float:
    """A scale for an encoder that states none: 1.25 times its largest weight over texts of the demo."""
    from lsr.data.demo_corpus import demo_folder

    documents = islice(demo_folder().documents(), texts)
    batch = encoder.encode_batch([document.text for document in documents])
    if len(batch.values) == 0:
        raise InputError(f"The encoder {encoder.name!r} gives no weights; it cannot make an index.")
    return float(batch.values.max()) * margin
