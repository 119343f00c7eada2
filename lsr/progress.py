"""The one progress reporter: a line on stderr that tells how far a long job is and how long it still takes.

Every room reports through here, so that one switch silences all of them: `set_quiet(True)` (the
command line's `--quiet`). A progress line is drawn only on a terminal; messages of `say` go to stderr
wherever it leads.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType

_INTERVAL = 0.2
_WARM = 2.0
_state = {"quiet": False}


def set_quiet(quiet: bool) -> None:
    """Silences (or gives back their voice to) every progress line and message of this process."""
    _state["quiet"] = quiet


def is_quiet() -> bool:
    """Whether messages are silenced."""
    return _state["quiet"]


def say(message: str) -> None:
    """Writes one line on stderr, unless silenced."""
    if _state["quiet"] or sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def duration(seconds: float) -> str:
    """A length of time for people: `"0.4 s"`, `"52 s"`, `"12 min"`, `"3 h 20 min"`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Counts what is done and shows it on one line of stderr, at most a few times a second.

    Args:
        label: What is going on, as in `"Indexing"`.
        total: How many there are; None where nobody knows.
        enabled: False for a reporter that never writes.
        unit: What is counted, in the plural.

    Example:
        >>> with Progress("Reading", 3, enabled=False) as progress:
        ...     progress.advance(3)
        >>> progress.done
        3
    """

    def __init__(self, label: str, total: int | None, *, enabled: bool, unit: str = "documents") -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._started = time.monotonic()
        self._drawn = 0.0
        self._visible = enabled and not _state["quiet"] and _is_terminal()

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        self._draw(force=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._visible:
            _write("\r\x1b[K")

    def advance(self, count: int = 1) -> None:
        """Counts `count` more."""
        self.done += count
        self._draw()

    def _draw(self, *, force: bool = False) -> None:
        if not self._visible:
            return
        now = time.monotonic()
        if not force and now - self._drawn < _INTERVAL:
            return
        self._drawn = now
        width = shutil.get_terminal_size((80, 24)).columns
        _write("\r\x1b[K" + self.line(now - self._started, width))

    def line(self, elapsed: float, width: int) -> str:
        """The line as it stands after `elapsed` seconds, at most `width - 1` characters long."""
        rate = self.done / elapsed if elapsed > 0 else 0.0
        parts = [f"{self.done:,} {self.unit}"]
        if self.total:
            parts = [f"{self.done:,} of {self.total:,} {self.unit}"]
        if self.done:
            parts.append(f"{rate:,.0f} a second" if rate >= 1 else f"{rate:.2f} a second")
        if self.total and self.done and (elapsed > _WARM or self.done * 10 > self.total):
            left = max(self.total - self.done, 0) / rate
            parts.append(f"{duration(left)} left")
        text = f"{self.label}  {_bar(self.done, self.total)}{'  '.join(parts)}"
        return text[: max(width - 1, 0)]


def _bar(done: int, total: int | None, cells: int = 20) -> str:
    if not total:
        return ""
    full = min(cells, done * cells // total)
    if (getattr(sys.stderr, "encoding", None) or "").lower().replace("-", "") != "utf8":
        return "[" + "#" * full + "." * (cells - full) + "]  "
    return "█" * full + "░" * (cells - full) + "  "


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):
        return False


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return
