"""What several rooms test with: every kind of encoder, one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from encoder_kinds import Case, loaded, parameters


@pytest.fixture(scope="module", params=parameters())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """A kind of encoder, loaded."""
    with loaded(request.param, tmp_path_factory.mktemp("kind")) as one:
        yield one
