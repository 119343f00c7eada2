"""The scale of an encoder that states none: measured once, kept, measured again where keeping fails."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lsr
from lsr.errors import InputError
from lsr.settings import largest_weight_of, measure_largest_weight


@dataclass
class Silent:
    """An encoder that states no largest weight, and counts the texts it is given."""

    inner: object
    fingerprint: str = "silent-1"
    max_document_weight: float | None = None
    texts: list[int] = field(default_factory=list)

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def encode_batch(self, texts, **options):
        self.texts.append(len(texts))
        return self.inner.encode_batch(texts, **options)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("LSR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "largest-weights"


@pytest.fixture
def silent(encoder) -> Silent:
    return Silent(encoder)


def test_what_a_model_states_is_taken(encoder, cache: Path) -> None:
    assert largest_weight_of(encoder) == encoder.max_document_weight
    assert not cache.exists()


def test_a_weight_is_measured_once(silent: Silent, encoder, cache: Path) -> None:
    first = largest_weight_of(silent)
    assert first == measure_largest_weight(encoder) > 0
    assert silent.texts == [256]
    assert largest_weight_of(silent) == largest_weight_of(Silent(encoder)) == first
    assert silent.texts == [256]
    assert [path.suffix for path in cache.iterdir()] == [".json"], "nothing half-written stays"


def test_indexes_of_one_model_have_one_scale(silent: Silent, cache: Path, tmp_path: Path) -> None:
    for name in ("a.lsr", "b.lsr"):
        with lsr.Index.create(tmp_path / name, silent) as index:
            assert index.settings.scale == largest_weight_of(silent) / 255
    assert silent.texts == [256]


def test_another_fingerprint_is_another_model(encoder, cache: Path) -> None:
    largest_weight_of(Silent(encoder, "one"))
    other = Silent(encoder, "../two\ud800")
    largest_weight_of(other)
    assert other.texts == [256]
    assert len(list(cache.iterdir())) == 2, "whatever the fingerprint holds, its file lies in the cache"


def test_a_model_without_a_fingerprint_is_measured_each_time(encoder, cache: Path) -> None:
    nameless = Silent(encoder, "")
    assert largest_weight_of(nameless) == largest_weight_of(nameless)
    assert nameless.texts == [256, 256] and not cache.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"1", b"{", b'{"largest": 2.5}',
        b'{"fingerprint": "other", "largest": 2.5}', b'{"fingerprint": "silent-1", "largest": NaN}',
        b'{"fingerprint": "silent-1", "largest": Infinity}', b'{"fingerprint": "silent-1", "largest": -1}',
        b'{"fingerprint": "silent-1", "largest": null}', b'{"fingerprint": "silent-1", "largest": "x"}',
        b"[" * 100_000, b'{"fingerprint": "silent-1", "largest": ' + b"9" * 400 + b"}",
    ],
)  # fmt: skip
def test_a_broken_cache_means_measuring_again(silent: Silent, cache: Path, content: bytes) -> None:
    first = largest_weight_of(silent)
    (file,) = cache.iterdir()
    file.write_bytes(content)

    assert largest_weight_of(silent) == first
    assert silent.texts == [256, 256]
    assert json.loads(file.read_bytes()) == {"fingerprint": "silent-1", "largest": first}, "it is mended"


def test_a_cache_that_cannot_be_written_means_measuring_again(silent: Silent, cache: Path) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the folder should be", encoding="utf-8")
    assert largest_weight_of(silent) == largest_weight_of(silent)
    assert silent.texts == [256, 256]


def test_a_folder_in_the_place_of_the_file(silent: Silent, cache: Path) -> None:
    first = largest_weight_of(silent)
    (file,) = cache.iterdir()
    file.unlink()
    file.mkdir()
    (file / "inside").touch()

    assert largest_weight_of(silent) == first
    assert silent.texts == [256, 256]
    assert list(cache.iterdir()) == [file]


def test_an_encoder_that_gives_nothing_makes_no_index(encoder, cache: Path) -> None:
    class Empty(Silent):
        def encode_batch(self, texts, **options):
            return self.inner.encode_batch([""] * len(texts), **options)

    with pytest.raises(InputError, match="gives no weights"):
        largest_weight_of(Empty(encoder))
    assert not cache.exists()
