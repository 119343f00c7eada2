"""Every command is documented, with an example, and docs/cli.md says what the commands say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click
import pytest

from lsr.cli import COMMANDS, cli

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_cli", DOCS / "generate_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
CONTEXT = click.Context(cli, info_name="lsr")
EVERY = list(GENERATOR.walk(cli, CONTEXT, "lsr"))


def test_the_page_is_up_to_date() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert page == GENERATOR.render(), "run: python docs/generate_cli.py"


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_command_has_help_an_example_and_a_place_in_the_docs(name: str, command: click.Command) -> None:
    assert command.help and len(command.help.split("\n")[0]) < 110
    example = command.help.partition("Example:\n")[2]
    assert name in example, f"{name} shows no example of itself"
    assert f"## {name}\n" in (DOCS / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_option_has_help(name: str, command: click.Command) -> None:
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{name} {param.opts[0]}"


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = cli.get_command(CONTEXT, name)
    assert command is not None
    assert command.short_help == COMMANDS[name][1]


@pytest.mark.parametrize("absent", ["delete", "compact", "reindex", "export", "serve", "mcp"])
def test_what_is_not_built_is_absent(absent: str) -> None:
    assert absent not in COMMANDS
