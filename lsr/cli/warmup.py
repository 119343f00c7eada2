"""`lsr warmup`: compiles the kernels beforehand, so that the first search does not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from lsr.cli.options import announce_compiling, common_options, json_option, print_json


@click.command("warmup", short_help="Compile the search kernels beforehand.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the compiled kernels go (else the cache folder of the user).",
)
@json_option
@common_options
def command(cache_dir: Path | None, as_json: bool) -> None:
    """Compile the search kernels and keep them, once for each machine and version.

    A search compiles what is missing by itself. Run this while an image is built, with LSR_CACHE_DIR set
    to the same folder as later, and no search in that image ever waits.

    \b
    Example:
      lsr warmup
      lsr warmup --cache-dir /opt/lsr-cache
    """
    from lsr.index.compiled import warmup
    from lsr.progress import duration

    announce_compiling()
    done = warmup(cache_dir)
    if as_json:
        print_json({**asdict(done), "folder": str(done.folder)})
        return
    click.echo(
        f"{done.compiled} search kernels were compiled and {done.loaded} were there already "
        f"({duration(done.seconds)}); they are kept in {done.folder}."
    )
