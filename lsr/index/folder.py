"""What a folder is: an index, the rest of an interrupted creation, empty, or somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

from lsr.errors import IndexCorruptError, IndexNotFoundError, NotAnIndexError
from lsr.index.catalog import is_there, read_catalog
from lsr.index.catalog_rows import CatalogState
from lsr.index.durable import remove_files
from lsr.index.format import CATALOG_NAME, LOCK_NAME, OUR_NAMES, SEGMENT_NAME


def read_index(folder: Path) -> CatalogState:
    """The catalog of a folder that must hold an index.

    Raises:
        IndexNotFoundError: There is no folder, or nothing in it, or only what an interrupted creation left.
        NotAnIndexError: It holds something else.
        IndexCorruptError: The catalog is damaged, or gone from beside its segments.
        IndexVersionError: It is of a newer format.
    """
    if not is_creatable(folder):
        state = read_catalog(folder)
        if state.builds():
            return state
    raise IndexNotFoundError(
        f"There is no index in {folder}; look at the path, or make one with lsr index … --index {folder}."
    )


def is_creatable(folder: Path) -> bool:
    """Whether the folder holds no catalog and may become an index.

    Raises:
        NotAnIndexError: It is a file, or holds somebody else's files.
        IndexCorruptError: It holds segments and no catalog.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        raise NotAnIndexError(
            f"{folder} is a file, and an index is a folder; choose another place."
        ) from None
    except OSError as error:
        raise NotAnIndexError(f"{folder} cannot be read ({error.strerror}); permit reading it.") from None
    if is_there(folder):
        return False
    foreign = [name for name in names if not OUR_NAMES.fullmatch(name)]
    if foreign:
        raise NotAnIndexError(
            f"{folder} holds other files ({foreign[0]!r} among them) and is no index; choose another folder."
        )
    if any(SEGMENT_NAME.fullmatch(name) for name in names):
        # Creation makes the catalog before any segment: here one was lost.
        raise IndexCorruptError(
            f"{CATALOG_NAME} is missing from {folder}; restore it from a copy, or remove the folder.",
            CATALOG_NAME,
        )
    return True


def remove_unnamed(folder: Path, state: CatalogState) -> None:
    """Remove files of our naming that no row of the catalog names; the caller holds the writer's lock.

    They were left by a kill, or are of an index that was replaced. What SQLite made beside the catalog is
    left to SQLite.
    """
    kept = state.file_names() | {LOCK_NAME, CATALOG_NAME}
    remove_files(
        folder,
        [
            name
            for name in sorted(os.listdir(folder))
            if OUR_NAMES.fullmatch(name) and name not in kept and not name.startswith(f"{CATALOG_NAME}-")
        ],
    )


def missing_file(folder: Path, name: str) -> IndexCorruptError:
    """The error for a file that the catalog names and the folder lacks."""
    return IndexCorruptError(
        f"{name} is missing from {folder}; restore it from a copy, or build the index again.", name
    )
