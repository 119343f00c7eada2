"""Option groups that several commands share, so that one option has one name, one meaning and one help text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import click

from lsr.progress import set_quiet

F = TypeVar("F", bound=Callable[..., Any])

STATE = SimpleNamespace(debug=False)
"""What `--debug` switched on for this process."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class MemorySize(click.ParamType):
    """An amount of memory: `2GB`, `512MB`, or bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes that `value` means."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(value).lower())
        size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
        if size < 1 << 24:
            self.fail(f"{value!r} is no amount of memory; write it like 2GB, at least 16MB.", param, ctx)
        return size


def _chain(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        set_quiet(True)


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        STATE.debug = True


common_options: Callable[[F], F] = _chain(
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_quiet, help="No messages."),
    click.option(
        "--debug", is_flag=True, expose_value=False, callback=_debug, help="Show a traceback when it fails."
    ),
)

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

index_argument: Callable[[F], F] = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))

corpus_argument: Callable[[F], F] = click.argument("corpus", metavar="[CORPUS]...", nargs=-1)

reading_options: Callable[[F], F] = _chain(
    click.option("--id-field", metavar="F", help="Field that holds the id (else id, _id, docid)."),
    click.option(
        "--text-field",
        "text_fields",
        metavar="F",
        multiple=True,
        help="Field that holds text (else text, contents); may be given several times, joined in order.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        show_default=True,
        help="What to do at a line that cannot be read.",
    ),
    click.option(
        "--on-duplicate",
        type=click.Choice(["error", "skip", "replace"]),
        default="error",
        show_default=True,
        help="What to do with an id that is there already.",
    ),
)

encoding_options: Callable[[F], F] = _chain(
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Texts encoded at once."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the encoder runs.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fast"]),
        default="auto",
        show_default=True,
        help="Arithmetic of the encoder.",
    ),
)

memory_option: Callable[[F], F] = click.option(
    "--memory", type=MemorySize(), metavar="SIZE", help="Memory for what is not written yet, as in 2GB."
)


def print_json(value: Any) -> None:
    """Prints one JSON document on stdout; characters that the stream cannot carry are escaped."""
    import sys

    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))
