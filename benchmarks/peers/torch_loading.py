"""Images by PyTorch's DataLoader, as its tutorials do it: Pillow reads, torchvision's transforms,
where it is installed, or the same in operators of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

VERSION = torch.__version__
_read = Image.open


class Images(Dataset):
    """Files and labels; an image is what `change` makes of Pillow's."""

    def __init__(self, paths: Sequence[str], labels: Sequence[int], change: Callable[[Any], Any]):
        self._paths, self._labels, self._change = list(paths), list(labels), change

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with open(self._paths[index], "rb") as file:
            picture = _read(file).convert("RGB")
        return self._change(picture), self._labels[index]


def as_bytes(picture: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(picture))


class AsNumbers:
    """Channels first, float32, normalized, in operators of torch."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self._mean = torch.tensor(mean).reshape(-1, 1, 1)
        self._std = torch.tensor(std).reshape(-1, 1, 1)

    def __call__(self, picture: Any) -> torch.Tensor:
        numbers = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return numbers.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)


def changes(
    mean: Sequence[float] | None, std: Sequence[float] | None
) -> dict[str, Callable[[Any], Any]]:
    """By the name of the contestant; without a mean the bytes as they are."""
    if mean is None or std is None:
        return {"torch": as_bytes}
    found: dict[str, Callable[[Any], Any]] = {"torch": AsNumbers(mean, std)}
    if find_spec("torchvision"):
        from torchvision import transforms

        found["torchvision"] = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(mean, std)]
        )
    return found


def loader(
    paths: Sequence[str],
    labels: Sequence[int],
    change: Callable[[Any], Any],
    batch: int,
    workers: int,
    order: Sequence[int],
) -> Any:
    """With worker processes that live as long as it does, begun as this torch begins them."""
    return DataLoader(
        Images(paths, labels, change),
        batch_size=batch,
        sampler=list(order),
        num_workers=workers,
        persistent_workers=True,
    )
