"""What a source is: where its frames come from, and how patient to be with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from loddis_server.sources.addresses import parse_camera_url
from loddis_server.sources.pacing import MIN_RATE_HZ

__all__ = ["SourceKind", "SourceSettings"]

SourceKind = Literal["rtsp", "mjpeg", "file", "device"]
MIB = 2**20


class SourceSettings(BaseModel):
    """One source: exactly one of `url`, `path` and `device`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = Field(
        default=None,
        description="Camera: rtsp://, rtsps:// (RTSP over TCP), http:// or https:// (MJPEG), with USER:PASSWORD@ if it "
        "asks for them. Shown nowhere; what is shown lacks user, password and query.",
    )
    path: Path | None = Field(
        default=None, description="Video file, or folder of PNG, TIFF or JPEG images in the order of their names."
    )
    device: Path | None = Field(default=None, description="V4L2 device, as /dev/video0.")

    device_format: str | None = Field(
        default=None,
        description="Device: pixel format or codec to ask for, FFmpeg's name, as gray16le, yuyv422, mjpeg.",
    )
    device_size: str | None = Field(default=None, description="Device: size to ask for, WIDTHxHEIGHT, pixels.")
    frame_rate_hz: float | None = Field(
        default=None,
        ge=MIN_RATE_HZ,
        le=1000,
        allow_inf_nan=False,
        description="Frames per second: asked of a device, the pace of a folder of images.",
    )

    realtime: bool = Field(
        default=False,
        description="Files: play at their own pace, where the newest frame wins, as a camera would; else every frame, "
        "as fast as it is taken.",
    )
    take_luma: bool = Field(
        default=False, description="Take the brightness of a picture in colour; without, such a source fails."
    )
    verify_tls: bool = Field(
        default=True, description="rtsps and https: accept only a certificate that this machine trusts."
    )

    reconnect: bool = Field(
        default=True, description="Cameras and devices: connect again after the connection is lost."
    )
    reconnect_first_s: float = Field(
        default=0.25,
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="Wait before the first new try, seconds; it doubles.",
    )
    reconnect_max_s: float = Field(
        default=15.0, gt=0, le=3600, allow_inf_nan=False, description="Longest wait between tries, seconds."
    )
    retry_failed_s: float = Field(
        default=60.0,
        ge=0,
        le=86400,
        allow_inf_nan=False,
        description="Cameras and devices that are not found, as one that still starts or is unplugged, or that send "
        "what is not taken, as a picture in colour: wait before the next try, seconds; 0: no more tries.",
    )
    open_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        allow_inf_nan=False,
        description="From the start of a try to its first frame, seconds.",
    )
    stall_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        allow_inf_nan=False,
        description="Largest age of the last frame, seconds; then the process that reads is replaced. Of a file in "
        "real time, the wait until the next frame is due comes on top.",
    )

    max_frame_pixels: int = Field(default=32 * MIB, ge=64, description="Largest frame, pixels.")
    memory_bytes: int = Field(
        default=1024 * MIB, ge=512 * MIB, description="Address space of the process that reads, bytes."
    )

    @field_validator("url")
    @classmethod
    def _url_is_a_cameras(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_camera_url(url.get_secret_value())
        return url

    @field_validator("path", "device")
    @classmethod
    def _paths_are_absolute(cls, path: Path | None) -> Path | None:
        if path is not None and (not path.is_absolute() or ".." in path.parts):
            raise ValueError(f"expected an absolute path without `..`, got {path}")
        return path

    @field_validator("device_format")
    @classmethod
    def _format_is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[a-z0-9_]{1,32}", name):
            raise ValueError(f"expected a name such as gray16le, got {name!r}")
        return name

    @field_validator("device_size")
    @classmethod
    def _size_is_a_size(cls, size: str | None) -> str | None:
        if size is not None and not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", size):
            raise ValueError(f"expected WIDTHxHEIGHT, got {size!r}")
        return size

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSettings:
        given = [name for name in ("url", "path", "device") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of url, path and device, got {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> SourceKind:
        """What kind of source it is."""
        if self.url is not None:
            scheme = self.url.get_secret_value().partition(":")[0].lower()
            return "rtsp" if scheme.startswith("rtsp") else "mjpeg"
        return "file" if self.path is not None else "device"

    @property
    def is_live(self) -> bool:
        """Whether its frames come when they come, and a lost one is lost."""
        return self.kind != "file"

    @property
    def shown(self) -> str:
        """Where it is, for people: a URL without user, password and query, or a path."""
        if self.url is not None:
            return parse_camera_url(self.url.get_secret_value()).shown
        return str(self.path or self.device)
