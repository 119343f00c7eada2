"""Files that appear whole or not at all: written under a hidden name beside the final one, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lsr.data.lines import file_error


class PendingFile:
    """A file that is being written; `publish` gives it its name, `discard` leaves nothing behind.

    Whoever is killed in between leaves a hidden file `.NAME.PID.part`, and nothing under the final name.

    Args:
        path: Where the file goes.

    Attributes:
        path: The same.
        stream: Takes the bytes; it can be read again from any place.

    Raises:
        InputFileError: Nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hidden = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
        with written(path):
            self.stream = cast(IO[bytes], open(self._hidden, "w+b"))  # noqa: SIM115 (closed by publish, discard)

    def publish(self) -> None:
        """Brings the bytes to the disk and gives the file its name; one that is there is replaced."""
        with written(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())
            self.stream.close()
            os.replace(self._hidden, self.path)

    def discard(self) -> None:
        """Removes what was written; without effect once it is published."""
        with contextlib.suppress(OSError):  # a full disk: closing would write what is left
            self.stream.close()
        self._hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Turns the system's refusals while a file is written into the sentence that names it."""
    try:
        yield
    except OSError as error:
        raise file_error(str(path), error, doing="written") from None
