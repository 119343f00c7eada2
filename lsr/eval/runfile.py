"""Rankings on their way to a TREC run, so that every tool that reads the run sees the order that we saw.

trec_eval, pytrec_eval and ir-measures ignore the rank column: they sort by score, read as a 32-bit
float, and equal scores by document id downwards. Our order among equal scores is by age in the index.
`strictly_falling` lowers a score that would tie by the smallest step that a 32-bit float can make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def strictly_falling(ranking: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The same documents in the same order, each score below the one before it as a 32-bit float.

    Args:
        ranking: Pairs of document id and score, the best first.

    Returns:
        Pairs whose scores are exact in float32. A score is changed only where it would tie (or, having
        been rounded, rise above) the one before it.

    Example:
        >>> [id for id, score in strictly_falling([("b", 1.5), ("c", 1.5), ("a", 1.0)])]
        ['b', 'c', 'a']
    """
    lowest = np.float32(-np.inf)
    above = np.float32(np.inf)
    falling = []
    for id, score in ranking:
        above = min(np.float32(score), np.nextafter(above, lowest))
        falling.append((id, float(above)))
    return falling
