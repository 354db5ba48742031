"""The first convolution of a detector that sees windows: it learns of what has moved, not of each frame anew.

Its weights are of the key frame, and of past frames *less* the key frame. That is the same function as weights of each
frame, at the same cost: the kernel is turned over, not the frames. But it begins elsewhere and learns otherwise. A
scene that stands still, which registration sees to, takes no part in what past frames say, and weight decay draws
towards a detector of single frames.

Legend: B batch, T frames of the window, oldest first, C channels, H W pixels, k side of the kernel.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FIRST_KERNEL", "WindowConv", "kernel_of_differences", "kernel_of_frames", "with_plain_kernel"]

FIRST_KERNEL = "backbone.stem.conv.weight"
"""Its name among a detector's weights."""

Detector = TypeVar("Detector", bound=nn.Module)


class WindowConv(nn.Conv2d):
    """A convolution of a window whose weights are of differences: ``(B, T, H, W) -> (B, C, …)``."""

    def forward(self, frames: Tensor) -> Tensor:
        """Convolve the frames as they are."""
        return functional.conv2d(frames, kernel_of_frames(self.weight), self.bias, self.stride, self.padding)


def kernel_of_frames(kernel: Tensor) -> Tensor:
    """Give the kernel ``(C, T, k, k)`` of frames that does what one of differences does."""
    past = kernel[:, :-1]
    return torch.cat((past, kernel[:, -1:] - past.sum(dim=1, keepdim=True)), dim=1)


def kernel_of_differences(kernel: Tensor) -> Tensor:
    """Undo `kernel_of_frames`."""
    return torch.cat((kernel[:, :-1], kernel.sum(dim=1, keepdim=True)), dim=1)


@torch.no_grad()
def with_plain_kernel(detector: Detector) -> Detector:
    """Give a detector that does the same with ordinary convolutions, as graphs have; itself if it has no others."""
    if not any(isinstance(module, WindowConv) for module in detector.modules()):
        return detector
    plain = copy.deepcopy(detector)
    for module in plain.modules():
        if isinstance(module, WindowConv):
            module.weight.copy_(kernel_of_frames(module.weight))
            module.__class__ = nn.Conv2d  # type: ignore[assignment]  # it differs by its forward alone
    return plain
