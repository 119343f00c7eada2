"""The command `lsr`: results on stdout, progress and messages on stderr.

One module a command, each imported only when its command runs: a cold `lsr search` pays for nothing
that it does not use. `main` is the entry point; what goes wrong ends in `lsr.cli.failures`.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec

import click

from lsr import __version__
from lsr.cli.options import common_options

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Build and search a small real corpus: the first minute."),
    "index": ("index", "Build an index from documents, or from vectors made elsewhere."),
    "add": ("add", "Add documents to an index."),
    "search": ("search", "Search an index: one query, or a file of them as a TREC run."),
    "eval": ("eval", "Measure how well a system finds what was judged relevant."),
    "train": ("train", "Make a model of your own from a recipe."),
    "encode": ("encode", "Write the vectors of documents or queries to a file."),
    "info": ("info", "Show what is inside an index."),
    "verify": ("verify", "Check every checksum of an index."),
    "models": ("models", "List the encoders, or plan what one would need."),
    "warmup": ("warmup", "Compile the search kernels beforehand."),
}
"""Each command: the module in `lsr.cli` that holds it, and its line in `lsr --help`."""


class LazyGroup(click.Group):
    """The commands of `COMMANDS` that this installation has, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the help page."""
        return [name for name, (module, _) in COMMANDS.items() if find_spec(f"lsr.cli.{module}")]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; a name that is none is answered with those that there are."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            close = get_close_matches(args[0], names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
            raise click.UsageError(f"No command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module; its function bears the name `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"lsr.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: lsr demo",
    invoke_without_command=True,
)
@click.version_option(__version__, "--version", prog_name="lsr", message="%(prog)s %(version)s")
@common_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Learned sparse retrieval: better search than BM25 without a GPU, each hit explained.

    \b
    Example:
      lsr index papers.jsonl --index papers.lsr
      lsr search papers.lsr "how do vaccines work" --explain
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process: 0 done, 1 failed, 2 usage or bad input."""
    from lsr.cli.failures import run

    raise SystemExit(run(cli, arguments))
