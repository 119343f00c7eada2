"""Fixtures of the tests of `lsr.index`."""

from __future__ import annotations

from index_fixtures import folder, store

__all__ = ["folder", "store"]
