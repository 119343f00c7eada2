"""How the command line ends: one sentence, an exit code, no traceback."""

from __future__ import annotations

import click
import pytest

from lsr.cli import cli
from lsr.cli.failures import Interrupted, one_line, run, some
from lsr.cli.options import common_options
from lsr.errors import IndexLockedError, InputError, MissingExtraError


def command_that(raises: BaseException) -> click.Command:
    @click.command()
    @common_options
    def command() -> None:
        raise raises

    return command


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("The line is broken; mend it."), 2, "The line is broken; mend it."),
        (IndexLockedError("Another writer is at work; wait."), 1, "Another writer is at work; wait."),
        (MissingExtraError("This", "eval"), 2, "This needs an extra: pip install 'lsr-search[eval]'."),
        (KeyboardInterrupt(), 130, "\nStopped by the user; nothing was changed."),
        (Interrupted("Stopped; 5 documents are kept."), 130, "Stopped; 5 documents are kept."),
        (
            OSError(28, "No space left on device", "x.lsr"),
            1,
            "The system refused: No space left on device (x.lsr).",
        ),
        (MemoryError(), 1, "There was not enough memory; try a smaller --memory or --batch-size."),
        (
            ZeroDivisionError("by\nzero"),
            1,
            "Something went wrong inside lsr (ZeroDivisionError: by zero); run it "
            "again with --debug to see where.",
        ),
    ],
)
def test_an_error_is_one_sentence(
    error, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command_that(error), []) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == sentence + "\n"


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that(ZeroDivisionError("by zero")), ["--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("Something went wrong inside lsr")
    assert run(command_that(ZeroDivisionError("by zero")), []) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_sentence_is_at_most_600_characters(capsys: pytest.CaptureFixture[str]) -> None:
    run(command_that(InputError("word " * 1000)), [])
    last = capsys.readouterr().err.splitlines()[-1]
    assert len(last) <= 600 and last.endswith("…")


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(command_that(InputError('The id "\x1b[31mred\x07" is\nbad.')), [])
    assert capsys.readouterr().err == 'The id "\\x1b[31mred\\x07" is bad.\n'


def test_a_closed_pipe_is_no_news(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsr.cli.failures._close_stdout", lambda: None)
    assert run(command_that(BrokenPipeError()), []) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serch", "x"], "No command 'serch'; did you mean 'search'?"),
        (["delete", "x"], "No command 'delete'; there are demo"),
        (["search"], "Missing argument 'DIR'"),
        (["eval"], "Give a command; see lsr eval --help."),
        (["search", "x", "y", "-k", "0"], "-k"),
        (["index", "x.jsonl"], "--index"),
        (["info", "--nonsense", "x"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_2_and_a_sentence(
    arguments, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err.splitlines()[-1]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, []) == 0
    assert "Begin with: lsr demo" in capsys.readouterr().out
    assert run(cli, ["--version"]) == 0
    assert capsys.readouterr().out.startswith("lsr 0.")
    assert run(cli, ["search", "--help"]) == 0
    assert "--explain" in capsys.readouterr().out


def test_lists_are_cut_after_ten() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(str(i) for i in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert one_line(" a\n b ") == "a b"
