"""Random textures of nature: power-law fields and smooth noise.

Legend: H W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Field32", "power_law_field", "resample", "smooth_profile", "stretched"]

Field32 = NDArray[np.float32]


def power_law_field(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    *,
    exponent: float,
    aspect: float = 1.0,
    outer_px: float | None = None,
) -> Field32:
    """Draw a Gaussian field whose power falls with spatial frequency k as k to the minus `exponent`.

    Clouds and vegetation show about 3 (11/3 is Kolmogorov's turbulence seen as a picture), 0 is white.

    Args:
        rng: Source of chance.
        size_hw: H, W pixels.
        exponent: Of the power in two dimensions, 0 or more.
        aspect: Features are this many times longer in x than in y.
        outer_px: Largest features, pixels; the field's larger side if none.

    Returns:
        ``(H, W)`` float32 of mean 0 and standard deviation 1; the opposite borders do not match.
    """
    height, width = size_hw
    padded_hw = (cv2.getOptimalDFTSize(height + height // 4 + 1), cv2.getOptimalDFTSize(width + width // 4 + 1))
    ky = np.fft.fftfreq(padded_hw[0]).astype(np.float32)[:, None]
    kx = np.fft.rfftfreq(padded_hw[1]).astype(np.float32)[None, :] * np.float32(aspect)
    outer = 1.0 / (outer_px or max(size_hw))
    amplitude = (ky**2 + kx**2 + np.float32(outer**2)) ** np.float32(-exponent / 4)
    amplitude[0, 0] = 0
    white = rng.standard_normal(padded_hw, dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=padded_hw)[:height, :width].astype(np.float32)
    field -= field.mean()
    field /= max(float(field.std()), 1e-12)
    return np.ascontiguousarray(field)


def smooth_profile(rng: np.random.Generator, length: int, *, scale_px: float) -> Field32:
    """Draw a smooth curve ``(length,)`` of mean 0 and deviation about 1, with features of `scale_px` pixels."""
    white = rng.standard_normal(length + 2 * int(4 * scale_px) + 2, dtype=np.float32)[None, :]
    curve = cv2.GaussianBlur(white, (0, 0), sigmaX=max(scale_px / 2, 0.3), sigmaY=0.01)[0]
    start = (curve.size - length) // 2
    return np.ascontiguousarray(curve[start : start + length] * np.sqrt(scale_px * np.sqrt(np.pi)), dtype=np.float32)


def stretched(field: Field32, low: float, high: float) -> Field32:
    """Map a field's levels from `low`..`high` to 0..1, cut off beyond."""
    shares: Field32 = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return shares


def resample(field: Field32, x: Field32, y: Field32) -> Field32:
    """Take a field at places `x`, `y` ``(H, W)`` in its pixels, mirrored at its borders."""
    sampled = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(sampled, dtype=np.float32)
