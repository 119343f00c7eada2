"""One process or several: who encodes which texts, and how their results come together.

Several processes are started by accelerate (`accelerate launch -m lsr train RECIPE`), each with a device of
its own. Every process draws the same batch, encodes its share of it, and computes the loss on what all of
them encoded; gradients are added up. So a run on one device and a run on eight do the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lsr.errors import MissingExtraError


def shares(count: int, parts: int) -> list[range]:
    """`count` texts in `parts` contiguous ranges whose sizes differ by one at most.

    Example:
        >>> shares(5, 2)
        [range(0, 3), range(3, 5)]
    """
    size, more = divmod(count, parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + size + (part < more))
    return [range(start, end) for start, end in pairwise(ends)]


class Processes:
    """The processes of a run.

    Attributes:
        count: How many.
        rank: This one's number; 0 writes files and speaks.
        device: Where this one computes.
    """

    def __init__(self, device: str = "auto") -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = 0
        if self.count > 1:
            self._start(device)
        elif device == "auto":
            self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        else:
            self.device = torch.device(device)

    def _start(self, device: str) -> None:
        try:
            from accelerate import PartialState  # type: ignore[import-untyped]
        except ImportError:
            raise MissingExtraError("Training in several processes", "train") from None
        state = PartialState(cpu=device == "cpu")
        self.count, self.rank, self.device = state.num_processes, state.process_index, state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """Which of `count` texts this process encodes."""
        return shares(count, self.count)[self.rank]

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """The rows of all processes in order.

        Args:
            rows: [own, V], what this process has of `count` rows.
            count: Rows of all processes together.

        Returns:
            [count, V], without gradients.
        """
        if self.count == 1:
            return rows
        parts = shares(count, self.count)
        most = len(parts[0])  # the first share is the largest
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in parts]
        torch.distributed.all_gather(found, padded)
        return torch.cat([one[: len(part)] for one, part in zip(found, parts, strict=True)])

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes; a process without work for a parameter counts as 0."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def gather_objects(self, thing: Any) -> Sequence[Any]:
        """What each process gives, in order."""
        if self.count == 1:
            return [thing]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, thing)
        return found

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def close(self) -> None:
        """End the group of processes."""
        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
