"""Every error that `lsr` raises on purpose.

The tree (each class is also the built-in type that a caller would expect)::

    LsrError
    ├── InputError (ValueError)               a document, query, option or file that cannot be used
    │   ├── DuplicateIdError                  an id that is there already, or twice in one input
    │   ├── QueryError                        a query that cannot be answered
    │   ├── EncoderMismatchError              vectors of one encoder, an index of another
    │   ├── UnknownEncoderError (+ FileNotFoundError)   a name that is no bundled model and no folder
    │   ├── UnsupportedError                  a feature that this version does not have
    │   └── NotAnIndexError                   a folder that holds something else
    ├── InputFileError (FileNotFoundError)    a file or folder of the user's that is not there
    ├── IndexExistsError (FileExistsError)    `create` where an index is
    ├── IndexNotFoundError (FileNotFoundError)   `open` where none is
    ├── IndexBuildingError (RuntimeError)     a first build that has not ended
    ├── IndexVersionError (ValueError)        an index of a newer format
    ├── IndexCorruptError (OSError)           a file cut, altered or missing; `.file` names it
    ├── IndexLockedError (BlockingIOError)    another writer is at work
    ├── DocumentNotFoundError (KeyError)      an id that the index does not hold
    └── MissingExtraError (ImportError)       a part that needs an extra to be installed

A message is one sentence: what was wrong, where, and what to do about it. `exit_code` is what the
command line ends with: 2 for usage and input, 1 for everything else.
"""

from __future__ import annotations

DISTRIBUTION = "lsr-search"
"""The name on the package index; every error and page takes it from here."""


class LsrError(Exception):
    """The base of all errors of this package; `str(error)` is one sentence with the remedy."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class InputError(LsrError, ValueError):
    """A document, query, option or file content that cannot be used."""

    exit_code = 2


class DuplicateIdError(InputError):
    """An id that the index holds already, or that one input holds twice; `.ids` lists them."""

    def __init__(self, message: str, ids: list[str] | None = None) -> None:
        super().__init__(message)
        self.ids = list(ids or [])


class QueryError(InputError):
    """A query that cannot be answered."""


class EncoderMismatchError(InputError):
    """Vectors or documents of one encoder meet an index made by another."""


class UnknownEncoderError(InputError, FileNotFoundError):
    """A name that is neither a bundled model nor a folder."""


class UnsupportedError(InputError):
    """A feature that this version does not have."""


class NotAnIndexError(InputError):
    """A folder or file that is no index of ours."""


class InputFileError(LsrError, FileNotFoundError):
    """A file or folder named by the user that is not there or cannot be read."""

    exit_code = 2


class IndexExistsError(LsrError, FileExistsError):
    """`create` was asked for where an index is already."""

    exit_code = 2


class IndexNotFoundError(LsrError, FileNotFoundError):
    """`open` was asked for where no index is."""

    exit_code = 2


class IndexBuildingError(LsrError, RuntimeError):
    """A first build of this index has not ended."""

    exit_code = 2


class IndexVersionError(LsrError, ValueError):
    """The index was written in a format that this version cannot read."""


class IndexCorruptError(LsrError, OSError):
    """A file of the index is cut, altered or missing; `.file` is its name."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


class IndexLockedError(LsrError, BlockingIOError):
    """Another process or handle is writing to the index."""


class DocumentNotFoundError(LsrError, KeyError):
    """The index holds no document of this id."""

    exit_code = 2


class MissingExtraError(LsrError, ImportError):
    """A part of the package that needs an extra to be installed."""

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install '{DISTRIBUTION}[{extra}]'.")
        self.extra = extra
