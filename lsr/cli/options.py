"""Option groups of several commands: one option has one name, one meaning and one help text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import click

from lsr.progress import set_quiet

F = TypeVar("F", bound=Callable[..., Any])

STATE = SimpleNamespace(debug=False)
"""What `--debug` switched on for this process."""


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

json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document."
)

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
)

duplicate_option: Callable[[F], F] = click.option(
    "--on-duplicate",
    type=click.Choice(["error", "skip", "replace"]),
    default="error",
    show_default=True,
    help="What to do with an id that is there already.",
)

precision_option: Callable[[F], F] = click.option(
    "--precision",
    type=click.Choice(["auto", "fast"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the encoder.",
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
    precision_option,
)

length_option: Callable[[F], F] = click.option(
    "--max-length",
    type=click.IntRange(min=1),
    metavar="N",
    help="Word pieces that the model reads of a text.",
)

memory_option: Callable[[F], F] = click.option(
    "--memory", metavar="SIZE", help="Memory for what is not written yet, as in 2GB."
)


per_query_option: Callable[[F], F] = click.option(
    "--per-query",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write the measures of every query there, a line a query and system.",
)


def print_json(value: Any) -> None:
    """Prints one JSON document on stdout; characters that the stream cannot carry are escaped."""
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=2))


def announce_compiling() -> None:
    """The first search of a machine compiles for some seconds; with this, it says so on stderr."""
    from lsr.index import compiled
    from lsr.progress import say

    compiled.on_compile = say
