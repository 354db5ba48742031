"""What lens and pixel make of a scene: one Gaussian, averaged over a pixel's square.

The same function blurs the background and draws the targets, so both have the same sharpness, and a shift by parts of a
pixel is part of the blur: no interpolation comes on top.

Legend: x y pixels, origin at the top-left corner of the top-left pixel; L taps.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from loddis_runtime.scenes.fields import Field32

__all__ = ["FWHM_PER_SIGMA", "PIXEL_NODES", "PIXEL_WEIGHTS", "Blur"]

FWHM_PER_SIGMA: Final = math.sqrt(8 * math.log(2))

# Gauss-Legendre nodes and weights over a pixel: right to 3e-5 of the peak for a Gaussian of sigma 0.5 px.
_nodes, _weights = np.polynomial.legendre.leggauss(4)
PIXEL_NODES: Final[NDArray[np.float64]] = _nodes / 2
PIXEL_WEIGHTS: Final[NDArray[np.float64]] = _weights / 2


class Blur:
    """The blur of a lens and its pixels, with a shift.

    Args:
        psf_fwhm_px: Width at half height of the lens's Gaussian, pixels.
    """

    def __init__(self, psf_fwhm_px: float) -> None:
        self.sigma_px = psf_fwhm_px / FWHM_PER_SIGMA
        self.margin_px = math.ceil(4 * self.sigma_px) + 1
        """Pixels that `apply` needs around what it gives."""

    def kernel(self, shift_px: float) -> NDArray[np.float32]:
        """Give the taps ``(L,)`` that blur along one axis and look `shift_px` farther, 0 to 1 pixels."""
        offsets = np.arange(-self.margin_px, self.margin_px + 1) - shift_px
        distances = (offsets[:, None] + PIXEL_NODES) / self.sigma_px  # (L, nodes)
        taps = np.exp(-0.5 * distances**2) @ PIXEL_WEIGHTS
        return np.asarray(taps / taps.sum(), dtype=np.float32)

    def apply(self, scene: Field32, *, shift_xy: tuple[float, float]) -> Field32:
        """Blur a patch of scene.

        Args:
            scene: ``(H + 2 margin_px, W + 2 margin_px)``.
            shift_xy: Where the frame's corner lies beyond that of the patch without its margin, 0 to 1 pixels.

        Returns:
            ``(H, W)`` float32.
        """
        shift_x, shift_y = shift_xy
        blurred = cv2.sepFilter2D(
            scene, cv2.CV_32F, self.kernel(shift_x), self.kernel(shift_y), borderType=cv2.BORDER_REPLICATE
        )
        margin = self.margin_px
        return np.ascontiguousarray(blurred[margin:-margin, margin:-margin], dtype=np.float32)
