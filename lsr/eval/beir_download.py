"""Downloads of the BEIR data sets, by the `beir` package, checked before they are unpacked.

The checksums are those of BEIR's own list of data sets. An archive is written, checked and unpacked in a
folder beside the place where it goes to, and renamed when all is well: a data set that is there is whole.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath

from lsr.errors import InputError, InputFileError, MissingExtraError
from lsr.progress import say

Fetch = Callable[[str, str], object]
"""Takes a URL and the path of the file to write."""

LAYOUT = "corpus.jsonl, queries.jsonl (or .gz of them) and qrels/test.tsv"

_HOME = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"


@dataclass(frozen=True, slots=True)
class Archive:
    """A data set as it can be downloaded.

    Attributes:
        name: Name of the data set, and of the folder in the archive.
        url: Where the archive is.
        md5: Its MD5, 32 hexadecimal digits.
        megabytes: Its size.
    """

    name: str
    url: str
    md5: str
    megabytes: int


def _archives() -> dict[str, Archive]:
    listed = {
        "msmarco": ("444067daf65d982533ea17ebd59501e4", 1082),
        "trec-covid": ("ce62140cb23feb9becf6270d0d1fe6d1", 74),
        "nfcorpus": ("a89dba18a62ef92f7d323ec890a0d38d", 2),
        "nq": ("d4d3d2e48787a744b6f6e691ff534307", 498),
        "hotpotqa": ("f412724f78b0d91183a0e86805e16114", 654),
        "fiqa": ("17918ed23cd04fb15047f73e6c3bd9d9", 18),
        "arguana": ("8ad3e3c2a5867cdced806d6503f29b99", 4),
        "webis-touche2020": ("46f650ba5a527fc69e0a6521c5a23563", 227),
        "cqadupstack": ("4e41456d7df8ee7760a7f866133bda78", 5344),
        "quora": ("18fb154900ba42a600f84b839c173167", 16),
        "dbpedia-entity": ("c2a39eb420a3164af735795df012ac2c", 639),
        "scidocs": ("38121350fc3a4d2f48850f6aff52e4a9", 142),
        "fever": ("5a818580227bfb4b35bb6fa46d9b6c03", 1237),
        "climate-fever": ("8b66f0a9126c521bae2bde127b4dc99d", 1229),
        "scifact": ("5f7d1de60b170fc8027bb7898e2efca1", 3),
    }
    return {name: Archive(name, f"{_HOME}/{name}.zip", md5, size) for name, (md5, size) in listed.items()}


ARCHIVES = _archives()
"""The data sets that anybody may download."""

ON_REQUEST = ("bioasq", "signal1m", "trec-news", "robust04")
"""The data sets of BEIR whose texts have to be asked for."""


def beir_fetch() -> Fetch:
    """The `beir` package's download.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        fetch: Fetch = import_module("beir.util").download_url
    except ImportError:
        raise MissingExtraError("Downloading a BEIR data set", "beir") from None
    return fetch


def download(archive: Archive, data_dir: Path, fetch: Fetch) -> Path:
    """Downloads a data set into the data directory.

    Args:
        archive: What to download.
        data_dir: Where its folder goes; made if it is not there.
        fetch: What downloads.

    Returns:
        The folder.

    Raises:
        InputFileError: There is no network, or the folder cannot be written.
        InputError: What came is not what was published.
    """
    folder = data_dir / archive.name
    say(f"Downloading {archive.name} ({archive.megabytes:,} MB) to {folder}.")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{archive.name}-", dir=data_dir) as place:
            packed = Path(place, "archive.zip")
            _fetch(archive, packed, folder, fetch)
            _check(archive, packed)
            unpacked = _unpack(packed, archive.name, Path(place, "unpacked"))
            os.replace(unpacked, folder)
    except OSError as error:
        if isinstance(error, InputFileError):
            raise
        raise InputFileError(
            f"{folder} cannot be written ({error.strerror or error}); choose another --data-dir."
        ) from error
    return folder


def _fetch(archive: Archive, packed: Path, folder: Path, fetch: Fetch) -> None:
    try:
        fetch(archive.url, str(packed))
    except Exception as error:  # whatever the package's own HTTP client raises
        raise InputFileError(
            f"The data set {archive.name!r} cannot be downloaded from {archive.url} "
            f"({type(error).__name__}); without a network, unpack a copy of {archive.name}.zip as the folder "
            f"{folder} with {LAYOUT}."
        ) from error


def _check(archive: Archive, packed: Path) -> None:
    with open(packed, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != archive.md5:
        raise InputError(
            f"What {archive.url} gave is not the published data set {archive.name!r}: its MD5 is {found}, "
            f"not {archive.md5}; it was removed, try again later."
        )


def _unpack(packed: Path, name: str, place: Path) -> Path:
    """Unpacks an archive that holds one folder of this name, and nothing beside or above it."""
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [
                member
                for member in archive.namelist()
                if PurePosixPath(member).parts[:1] == (name,) and ".." not in PurePosixPath(member).parts
            ]
            archive.extractall(place, members)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"The archive of {name!r} is damaged ({error}); it was removed, try again."
        ) from None
    if not (place / name).is_dir():
        raise InputError(f"The archive of {name!r} holds no folder {name!r}; it was removed.")
    return place / name
