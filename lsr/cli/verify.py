"""`lsr verify`: is every byte of an index what was written?"""

from __future__ import annotations

from pathlib import Path

import click

from lsr.cli.failures import one_line
from lsr.cli.options import common_options, index_argument, json_option, print_json


@click.command("verify", short_help="Check every checksum of an index.")
@index_argument
@click.option("--deep", is_flag=True, help="Check the cross-references of all structures too.")
@json_option
@common_options
def command(directory: Path, deep: bool, as_json: bool) -> None:
    """Check an index: every checksum, and with --deep every cross-reference.

    Ends with exit code 1 and the names of the damaged files if there are any.

    \b
    Example:
      lsr verify papers.lsr
      lsr verify papers.lsr --deep
    """
    from lsr.index.check import verify

    report = verify(directory, deep=deep)
    if as_json:
        print_json(report.to_json())
    for fault in [] if as_json else report.faults:
        click.echo(one_line(fault.message))
    if report.faults:
        raise report.error()
    if not as_json:
        click.echo(f"{directory} is sound.")
