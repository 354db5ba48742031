"""How warm air, sky and water look between 8 and 14 um.

Radiance in this band goes about as the 4.5th power of temperature near 280 K; a grey body of emissivity e then looks as
warm as a black one of T e^(1/4.5).

References:
    Kasten and Young, "Revised optical air mass tables and approximation formula", Applied Optics 28, 1989.
    Schlick, "An inexpensive BRDF model for physically-based rendering", Computer Graphics Forum 13, 1994.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loddis_runtime.scenes.config import Weather
from loddis_runtime.scenes.fields import Field32

__all__ = ["clear_sky_k", "cloud_k", "water_reflectance"]

RADIANCE_EXPONENT: Final = 4.5
AIR_BELOW_CLOUDS: Final = 0.7  # share of the air's opacity
WATER_REFLECTANCE_NORMAL: Final = 0.012


def _air_mass(elevation_rad: Field32) -> Field32:
    """Give how much more air lies in a direction than straight up: 1 to about 38; below the horizon as at it."""
    degrees = np.rad2deg(np.maximum(elevation_rad, 0))
    return np.asarray(1 / (np.sin(np.deg2rad(degrees)) + 0.50572 * (degrees + 6.07995) ** -1.6364), dtype=np.float32)


def clear_sky_k(elevation_rad: Field32, weather: Weather) -> Field32:
    """Give the apparent temperature of the clear sky: the air's at the horizon, falling with elevation; K."""
    emissivity = -np.expm1(-weather.zenith_opacity * _air_mass(elevation_rad))
    return np.asarray(weather.air_temperature_k * emissivity ** (1 / RADIANCE_EXPONENT), dtype=np.float32)


def cloud_k(elevation_rad: Field32, weather: Weather, *, base_k: float) -> Field32:
    """Give the apparent temperature of a dense cloud whose base has `base_k`, seen through the air below it; K."""
    through = np.exp(-AIR_BELOW_CLOUDS * weather.zenith_opacity * _air_mass(elevation_rad))
    radiance = 1 - through * (1 - (base_k / weather.air_temperature_k) ** RADIANCE_EXPONENT)
    return np.asarray(weather.air_temperature_k * radiance ** (1 / RADIANCE_EXPONENT), dtype=np.float32)


def water_reflectance(grazing_rad: Field32) -> Field32:
    """Give Fresnel's reflectance of water in Schlick's approximation, 0 to 1.

    Args:
        grazing_rad: Angle between ray and surface, 0 to pi / 2.
    """
    oblique = (1 - np.sin(grazing_rad)) ** 5
    return np.asarray(WATER_REFLECTANCE_NORMAL + (1 - WATER_REFLECTANCE_NORMAL) * oblique, dtype=np.float32)
