"""How the command line ends: one sentence as the last line of stderr, and an exit code that means something.

0 done, 1 failed, 2 usage or bad input, 130 stopped by the user. A traceback shows only with `--debug`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable

import click

from lsr.cli.options import STATE
from lsr.errors import LsrError

LONGEST = 600
STOPPED = 130


class Interrupted(Exception):
    """The user pressed Ctrl-C, and the command knows what is kept; `.message` says it.

    No KeyboardInterrupt itself: click would turn that into its own, and the message would be lost.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def run(command: click.Command, arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit code; never raises.

    Args:
        command: The group `lsr`.
        arguments: What stands after `lsr`; None for the process's own.
    """
    STATE.debug = False
    _soften_streams()
    try:
        code = command.main(arguments, prog_name="lsr", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        return _end(error)


def _end(error: BaseException) -> int:
    """Says what went wrong and gives the exit code for it."""
    if isinstance(error, BrokenPipeError):
        _close_stdout()
        return 1
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if STATE.debug:
        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        return _usage(error)
    sentence, code = _verdict(error)
    _last_line(sentence)
    return code


def _verdict(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code for an error."""
    if isinstance(error, LsrError):
        return str(error), error.exit_code
    if isinstance(error, Interrupted):
        return error.message, STOPPED
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "Stopped by the user; nothing was changed.", STOPPED
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, MemoryError):
        return "There was not enough memory; try a smaller --memory or --batch-size.", 1
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"The system refused: {error.strerror}{where}.", 1
    detail = f"{type(error).__name__}: {error}".rstrip(": .")
    return f"Something went wrong inside lsr ({detail}); run it again with --debug to see where.", 1


def _usage(error: click.UsageError) -> int:
    """A usage error: where the help is, then the sentence."""
    if type(error).__name__ == "NoArgsIsHelpError" and error.ctx is not None:  # its message is the whole help
        click.echo(error.ctx.get_help(), err=True)
        _last_line(f"Give a command; see {error.ctx.command_path} --help.")
        return 2
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Help: {error.ctx.command_path} --help", err=True)
    _last_line(error.format_message())
    return 2


def _last_line(sentence: str) -> None:
    text = one_line(sentence)
    if len(text) > LONGEST:
        text = text[: LONGEST - 2].rstrip() + " …"
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            click.echo(click.style("Error: ", fg="red", bold=True) + text, err=True)
        else:
            click.echo(text, err=True)


def one_line(text: str) -> str:
    """`text` on one line, with control characters (a terminal would obey them) made visible."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in flat)


def some(names: Iterable[str], *, limit: int = 10) -> str:
    """A list for a message, cut after ten: `"a, b, c and 4 more"`."""
    listed = list(names)
    shown = ", ".join(listed[:limit])
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit:,} more"


def _soften_streams() -> None:
    """A character that the terminal cannot show becomes a question mark instead of a failure."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="replace")


def _close_stdout() -> None:
    """Points stdout nowhere, so that the interpreter's last flush does not complain either."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_faults(faults: list[str]) -> None:
    """What was left out because it could not be read, on stderr; cut after ten."""
    from lsr.progress import say

    for fault in faults[:10]:
        say(f"Left out: {one_line(fault)[:300]}")
    if len(faults) > 10:
        say(f"Left out: {len(faults) - 10:,} more.")
