"""Sparse vectors made elsewhere: JSONL of terms and weights, or a SciPy matrix beside its ids and terms.

`read_vectors` chooses the reader by the ending of the file. Both check everything that can be checked
before the first row is handed on, and keep one batch of rows in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lsr.data.lines import file_error
from lsr.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

VectorBatch = tuple[list[str], "csr_array", "list[dict[str, Any] | None] | None"]
"""Ids of n rows; csr_array float32 [n, len(vocabulary)] with sorted columns, no zeros and no duplicates; the
documents beside the rows (each with an `id`; None where a row has none), or None if the file holds none."""


class VectorSource(Protocol):
    """A file of sparse vectors; it can be read any number of times.

    Attributes:
        vocabulary: The term of each column.
        rows: How many vectors there are.
    """

    vocabulary: list[str]
    rows: int

    def batches(self, size: int) -> Iterator[VectorBatch]:
        """The vectors in the order of the file, at most `size` at once.

        Raises:
            InputFileError: The file is no longer there.
            InputError: A row cannot be used.
        """


def read_vectors(path: str | Path) -> VectorSource:
    """Opens a file of vectors and looks it through.

    Args:
        path: `X.jsonl` or `X.jsonl.gz` with rows `{"id": …, "vector": {term: weight}}`; or `X.npz` as
            `scipy.sparse.save_npz` writes a CSR matrix, beside `X.ids.txt` (an id a line) and
            `X.vocabulary.txt` (a term a line).

    Returns:
        The source; the terms of JSONL are sorted.

    Raises:
        InputFileError: A file is not there or cannot be read.
        InputError: The file is of another kind, damaged, or holds a row that is no vector: a weight that is
            negative, no number or not finite, a missing id, sizes that do not agree.
    """
    path = Path(path)
    bare = path.name.lower()
    try:
        path.stat()
    except OSError as error:
        raise file_error(str(path), error) from None
    if bare.endswith((".jsonl", ".jsonl.gz")) and path.is_file():
        from lsr.data.vectors_jsonl import JsonlVectors

        return JsonlVectors(path)
    if bare.endswith(".npz") and path.is_file():
        from lsr.data.vectors_npz import NpzVectors

        return NpzVectors(path)
    raise InputError(
        f"{path} is no file of vectors; give a .jsonl (or .jsonl.gz) of ids and vectors, or a .npz "
        "beside its .ids.txt and .vocabulary.txt."
    )
