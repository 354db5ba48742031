"""What comes before the network: a frame, or a window of frames, becomes its input.

Legend: T frames of the window, oldest first, the last is the key frame; H W pixels of the frame; h w network pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.frames import Frame
from loddis_runtime.intensity import normalise
from loddis_runtime.letterbox import LetterboxTransform, letterbox
from loddis_runtime.manifest import Manifest
from loddis_runtime.registration import Structure, shift_between, shifted, structure_of

__all__ = ["PreparedFrame", "WindowFrame", "stack_window", "still_window", "window_frame"]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFrame:
    """A frame, ready for the network.

    Attributes:
        frame: ``(H, W)`` as `as_frame` gives it.
        tensor: ``(T, h, w)`` float32 in [0, 1]; read only where T > 1.
        transform: From frame to network pixels.
    """

    frame: Frame
    tensor: NDArray[np.float32]
    transform: LetterboxTransform

    @classmethod
    def of(cls, frame: Frame, tensor: NDArray[np.float32]) -> PreparedFrame:
        """Put a key frame ``(H, W)`` and its window ``(T, h, w)`` together."""
        (height, width), (_, net_height, net_width) = frame.shape, tensor.shape
        return cls(frame, tensor, LetterboxTransform.fit((height, width), (net_height, net_width)))


@dataclass(frozen=True, slots=True, eq=False)
class WindowFrame:
    """What windows need of a frame, worked out once for all the windows that it is in.

    Attributes:
        network: ``(h, w)`` float32 in [0, 1], the frame in the network's size.
        levels: ``(H, W)`` float32 in [0, 1]; None where the model does not register its windows.
        structure: What registration compares; None likewise.
    """

    network: NDArray[np.float32]
    levels: NDArray[np.float32] | None
    structure: Structure | None


def still_window(frame: Frame, manifest: Manifest) -> NDArray[np.float32]:
    """Give the window ``(T, h, w)`` of a scene that stands still: one frame, T times; not to be written to.

    Raises:
        FrameError: A float frame whose levels the model does not take.
    """
    network = _fit(normalise(frame, manifest.intensity), manifest)  # (h, w)
    return np.broadcast_to(network, (manifest.window, *manifest.size_hw))


def window_frame(frame: Frame, manifest: Manifest) -> WindowFrame:
    """Work out what windows need of a frame; nothing of the frame's own memory is kept.

    Raises:
        FrameError: As `still_window`.
    """
    levels = normalise(frame, manifest.intensity)
    network = _fit(levels, manifest)
    if manifest.register_window:
        return WindowFrame(network, levels, structure_of(levels))
    return WindowFrame(network, None, None)


def stack_window(frames: Sequence[WindowFrame], manifest: Manifest) -> NDArray[np.float32]:
    """Give the window of frames of one size, registered to the last of them if the model wants it.

    Args:
        frames: From 1 to T, oldest first. Where there are fewer than T, the oldest stands for those before it.
        manifest: Of the model.

    Returns:
        ``(T, h, w)`` float32.
    """
    *past, key = frames
    tensor = np.empty((manifest.window, *manifest.size_hw), dtype=np.float32)
    missing = manifest.window - len(frames)
    for row, frame in zip(tensor[missing:-1], past, strict=True):
        shift = (0.0, 0.0)
        if frame.structure is not None and key.structure is not None:
            shift = shift_between(frame.structure, key.structure)
        if frame.levels is None or shift == (0.0, 0.0):
            row[:] = frame.network
        else:
            letterbox(shifted(frame.levels, *shift), manifest.size_hw, out=row)
    tensor[-1] = key.network
    tensor[:missing] = tensor[missing]
    return tensor


def _fit(levels: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Bring levels ``(H, W)`` into the network's size, without a copy where they have it."""
    return levels if levels.shape == manifest.size_hw else letterbox(levels, manifest.size_hw)
