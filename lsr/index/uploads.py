"""What a handle keeps on a device: its segments' postings, copied there once and let go with the segment.

`lsr.index.device` asks for a segment, `lsr.index.device_scoring` works with what it gets. Whatever is known
of a segment is read here, through the accessors of `lsr.index.search.Segment`. torch is imported within
functions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lsr.errors import InputError
from lsr.index.format import corrupt
from lsr.index.layout import expand
from lsr.index.quantise import IMPACT_TYPES

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

    from lsr.index.search import Segment

_PIECE = 1 << 24
"""Entries of an array that are copied to a device at a time."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One segment on a device.

    Attributes:
        terms: int32 [T], ascending.
        offsets: int64 [T + 1].
        rows: int32 [P].
        impacts: uint8, int16 (the bits of uint16) or float32 [P].
        sequences: int64 [d], in the order of the documents' rows.
        firsts: int64 [d + 1], where each document's rows begin; None if each document is one row.
        longest: The length of the longest list of postings.
    """

    terms: Tensor
    offsets: Tensor
    rows: Tensor
    impacts: Tensor
    sequences: Tensor
    firsts: Tensor | None
    longest: int


class Uploads:
    """What one handle keeps on devices: the postings of its segments, each uploaded once.

    A segment is held weakly: when a refresh or a close lets it go, its memory on the device is free again.
    May be shared between threads.
    """

    def __init__(self, limit: int | None = None) -> None:
        """Keep at most `limit` bytes; None is what the device has free (on the CPU, no limit)."""
        self._limit = limit
        self._lock = Lock()
        self._kept: WeakKeyDictionary[Segment, dict[str, Upload]] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many segments are kept."""
        return len(self._kept)

    def clear(self) -> None:
        """Let everything go that no search is using."""
        with self._lock:
            self._kept.clear()

    def get(self, segment: Segment, device: Device) -> Upload:
        """A segment on a device, uploaded if it is not there.

        Raises:
            InputError: It is larger than the memory.
            IndexCorruptError: Its postings name rows that are not there.
        """
        with self._lock:
            kept = self._kept.get(segment, {})
            if str(device) not in kept:
                self._make_room(segment, device)
                kept[str(device)] = _upload(segment, device)
                self._kept[segment] = kept
            return kept[str(device)]

    def _make_room(self, segment: Segment, device: Device) -> None:
        needed = _bytes(segment)
        if needed <= self._room(device):
            return
        self._kept.clear()
        if needed > self._room(device):
            raise InputError(
                f"{segment.name} needs {needed / 1e9:,.1f} GB on {device}, more than is free there; leave "
                "device out to search it where it lies."
            )

    def _room(self, device: Device) -> float:
        if self._limit is not None:
            return self._limit - sum(_bytes(segment) for segment in self._kept)
        return float("inf") if device.type == "cpu" else 0.7 * free_bytes(device)


def free_bytes(device: Device) -> int:
    """What torch could still allocate on a GPU, with what it holds back from earlier use."""
    import torch

    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + int(idle)


def _bytes(segment: Segment) -> int:
    """What a segment takes on a device."""
    layout = segment.layout
    postings = layout.postings * (4 + np.dtype(IMPACT_TYPES[layout.form]).itemsize)
    return postings + len(layout.terms) * 12 + len(segment.document_sequence) * 16


def _upload(segment: Segment, device: Device) -> Upload:
    postings = expand(segment.layout, file=segment.name)
    impacts = postings.impacts
    owners, rows = segment.row_document, len(segment.row_document)
    starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]])[:rows])
    if len(starts) != len(segment.document_sequence):
        raise corrupt(segment.name, "the rows of a document do not follow one another")
    firsts = None if len(starts) == rows else send(np.append(starts, rows), device)
    return Upload(
        send(segment.layout.terms, device),
        send(postings.offsets, device),
        send(postings.rows.view(np.int32), device),
        send(impacts.view(np.int16) if impacts.dtype == np.uint16 else impacts, device),
        send(segment.document_sequence[owners[starts]], device),
        firsts,
        int(np.diff(postings.offsets).max(initial=0)),
    )


def send(array: NDArray[Any], device: Device) -> Tensor:
    """An array's copy on a device, in pieces through pinned memory where that is a GPU."""
    import torch

    if device.type == "cpu":
        return torch.from_numpy(np.array(array))
    sent = torch.empty(len(array), dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    for first in range(0, len(array), _PIECE):
        piece = torch.from_numpy(np.array(array[first : first + _PIECE])).pin_memory()
        sent[first : first + len(piece)].copy_(piece, non_blocking=True)
    return sent
