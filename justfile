# `just` lists the recipes. All but `setup` and `ci` expect an active virtual environment that `setup` filled.

default:
    @just --list

# Install the package in place, with everything that the tests need
setup:
    pip install -c constraints.txt -e '.[dev]'

# The default tests: no network, no torch, no data but the demo corpus
test *ARGS:
    pytest {{ARGS}}

# The tests that read the data sets in LSR_DATA
test-data *ARGS:
    pytest -m data {{ARGS}}

# The tests that need the extra [torch] or [train]
test-torch *ARGS:
    pytest -m torch {{ARGS}}

# What a change has to pass before it is committed
check: lint types test

# Style, and whether the formatter would change anything
lint:
    ruff check .
    ruff format --check .

# Format, and repair what can be repaired by itself
format:
    ruff check --fix .
    ruff format .

# Types, strictly
types:
    mypy

# Write docs/cli.md again from the help texts
docs:
    python docs/generate_cli.py

# Index and search the demo corpus
demo *ARGS:
    lsr demo {{ARGS}}

# The whole check on a fresh virtual environment, as it runs unattended
ci:
    .ci/run
