"""`python -m lsr` is the command `lsr`."""

from __future__ import annotations

from lsr.cli import main

if __name__ == "__main__":
    main()
