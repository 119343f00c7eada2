"""Checkpoints: everything that a killed run needs to go on as if nothing had happened.

One file a checkpoint, `step-00000500.pt`, written under a hidden name, brought to the disk and renamed, so
that it is whole or not there. It holds tensors and plain values and is read without pickle's objects. The
newest `keep` stay; `best.pt` holds the weights of the best measurement on the dev part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsr.data.replacing import PendingFile
from lsr.errors import InputError

_NAME = re.compile(r"step-(\d{8})\.pt")
State = dict[str, Any]


class Checkpoints:
    """The checkpoints of a stage.

    Args:
        folder: Where they lie; made when the first is written.
        keep: How many stay.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = max(keep, 1)

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, ascending."""
        found = [_NAME.fullmatch(path.name) for path in self.folder.glob("step-*.pt")]
        return sorted(int(match.group(1)) for match in found if match)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint after `step` steps, and remove the oldest beyond `keep`."""
        self._write(self._file(step), dict(state))
        for old in self.steps()[: -self.keep]:
            self._file(old).unlink(missing_ok=True)

    def load(self, step: int) -> State:
        """What was saved after `step` steps, on the CPU.

        Raises:
            InputError: The file is damaged.
        """
        return self._read(self._file(step))

    def newest(self) -> State | None:
        """The newest checkpoint, or None if there is none."""
        steps = self.steps()
        return self.load(steps[-1]) if steps else None

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Keep weights as the best so far."""
        self._write(self.folder / "best.pt", dict(state))

    def best(self) -> State | None:
        """The best weights, or None."""
        file = self.folder / "best.pt"
        return self._read(file) if file.is_file() else None

    def average(self, count: int) -> dict[str, Tensor] | None:
        """The mean of the weights of the last `count` checkpoints; None if there are fewer than two.

        Source:
            Izmailov et al. 2018 (arXiv 1803.05407), with equal weights.
        """
        steps = self.steps()[-count:] if count > 1 else []
        if len(steps) < 2:
            return None
        total: dict[str, Tensor] = {}
        for step in steps:
            for name, tensor in self.load(step)["model"].items():
                if not tensor.is_floating_point():
                    total[name] = tensor
                elif name in total:
                    total[name] += tensor.double() / len(steps)
                else:
                    total[name] = tensor.double() / len(steps)
        return {name: t.float() if t.is_floating_point() else t for name, t in total.items()}

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def _write(self, file: Path, state: State) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        pending = PendingFile(file)
        try:
            torch.save(state, pending.stream)
            pending.publish()
        except BaseException:
            pending.discard()
            raise

    def _read(self, file: Path) -> State:
        try:
            state: State = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises what it likes for a damaged file
            raise InputError(
                f"The checkpoint {file} cannot be read ({type(error).__name__}); remove it to go on from the "
                "one before."
            ) from None
        return state


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, and all buffers that are saved: what a checkpoint holds of a model.

    A frozen body of gigabytes beside its adapter stays out.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    state = {name: t for name, t in model.state_dict().items() if name not in frozen}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}


def load_trained(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a `trained_state` back.

    Raises:
        InputError: It belongs to another model.
    """
    own = model.state_dict()
    expected = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    unknown = set(state) - set(own) | (expected - set(state))
    if unknown or any(own[name].shape != tensor.shape for name, tensor in state.items()):
        raise InputError(
            "The checkpoint belongs to another model than the recipe's; name a new folder with --output."
        )
    model.load_state_dict(dict(state), strict=False)
