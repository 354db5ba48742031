"""Land that stands still, alone or under a sky.

Legend: H W pixels of the canvas, h w pixels of a window.
"""

from __future__ import annotations

import numpy as np

from loddis_runtime.scenes.backgrounds.canvas import Window
from loddis_runtime.scenes.backgrounds.sky import Sky
from loddis_runtime.scenes.fields import Field32

__all__ = ["Land"]


class Land:
    """A drawn landscape.

    Args:
        land_k: ``(H, W)`` apparent temperature, K.
        sky: Seen where the land is not; none if all is land.
        opacity: ``(H, W)`` of the land, 0 to 1; all of it if none.
        hides: Whether targets pass behind the land.
    """

    def __init__(
        self, land_k: Field32, *, sky: Sky | None = None, opacity: Field32 | None = None, hides: bool = False
    ) -> None:
        self._land_k = land_k
        self._sky = sky
        self._opacity = opacity
        self.hiding = opacity if hides else None
        if opacity is not None:
            any_land, any_sky = opacity.max(axis=1) > 0, opacity.min(axis=1) < 1  # (H,)
            self._first_land_row = int(any_land.argmax()) if any_land.any() else opacity.shape[0]
            self._end_of_sky = opacity.shape[0] - int(any_sky[::-1].argmax()) if any_sky.any() else 0

    def temperature(self, window: Window, *, time_s: float) -> Field32:
        """Give apparent temperatures ``(h, w)`` of a window at a time, K."""
        scene_k = self._land_k[window.rows, window.columns].copy()
        if self._sky is None or self._opacity is None:
            return scene_k
        sky_rows = min(max(self._end_of_sky - window.top, 0), window.height)
        if sky_rows:
            above = Window(window.top, window.left, sky_rows, window.width)
            sky_k = self._sky.temperature(above, time_s=time_s)
            open_rows = min(max(self._first_land_row - window.top, 0), sky_rows)
            scene_k[:open_rows] = sky_k[:open_rows]
            mixed = slice(open_rows, sky_rows)
            opacity = self._opacity[above.rows, above.columns][mixed]
            scene_k[mixed] = sky_k[mixed] + opacity * (scene_k[mixed] - sky_k[mixed])
        return np.ascontiguousarray(scene_k)
