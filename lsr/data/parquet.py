"""Rows of Parquet files, through pyarrow (the extra `[parquet]`), a few hundred at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from lsr.data.lines import file_error
from lsr.data.rows import Row, Rows, Selection
from lsr.data.sources import require_parquet
from lsr.errors import InputError

_BATCH_ROWS = 256


def parquet_rows(path: Path, name: str, selection: Selection) -> Rows:
    """The rows of a Parquet file; dates and times become ISO 8601 strings, decimals their digits.

    Raises:
        InputFileError: The file cannot be opened.
        InputError: It is no Parquet file, is damaged, or lacks the column of the id or the text.
        MissingExtraError: pyarrow is not installed.
    """
    require_parquet()
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            fault = selection.fault_of(columns)
            if fault is not None:
                raise InputError(f"{name}: the columns do not fit: {fault}.")
            number = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for fields in _rows_of(batch):
                    number += 1
                    yield _row(fields, f"{name}, row {number}")
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{name} is no Parquet file or is damaged ({reason}); write it again.") from None
    except OSError as error:
        if error.errno is None:  # pyarrow's own, about the content
            reason = str(error).splitlines()[0][:120]
            raise InputError(f"{name} is damaged ({reason}); write it again.") from None
        raise file_error(name, error) from None


def count_parquet_rows(path: Path) -> int:
    """The number of rows that a Parquet file's footer states."""
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(path).num_rows)


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a record batch as dicts, None for one whose strings are no UTF-8."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            yield None
        else:
            for index in range(batch.num_rows):
                yield from _rows_of(batch.slice(index, 1))
        return
    yield from rows


def _row(fields: dict[str, Any] | None, where: str) -> Row | InputError:
    if fields is None:
        return InputError(f"{where}: a string holds invalid UTF-8; write the file again from valid text.")
    return Row({key: _json_value(value) for key, value in fields.items()}, where)


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {key: _json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner) for inner in value]
    return value
