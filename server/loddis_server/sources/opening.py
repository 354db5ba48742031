"""From settings to something open that the allow-list has: the one place where sources touch files and networks."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
import tempfile
from dataclasses import dataclass, field, replace
from types import TracebackType

from loddis_server.sources.addresses import CameraAddress, IpAddress, parse_camera_url
from loddis_server.sources.allow_list import RefusedError, SourceAllowList
from loddis_server.sources.settings import SourceSettings
from loddis_server.sources.wire import FailureReason, Request

__all__ = ["Medium", "OpeningError", "check_allowed", "open_medium", "open_upload_medium"]

MICROSECONDS = 1_000_000


class OpeningError(Exception):
    """A source that cannot be opened.

    Attributes:
        reason: For programs.
        cause: For people.
    """

    def __init__(self, reason: FailureReason, cause: str) -> None:
        super().__init__(cause)
        self.reason = reason
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Medium:
    """What a child is told, and what it is handed; closes its files on exit.

    Attributes:
        request: For the child.
        descriptors: Files and sockets that the child inherits.
    """

    request: Request
    descriptors: tuple[int, ...] = field(default=())

    def __enter__(self) -> Medium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def open_medium(settings: SourceSettings, allow: SourceAllowList, *, skip_frames: int = 0) -> Medium:
    """Open what a source reads from, if it may.

    Args:
        settings: Of the source.
        allow: What may be read.
        skip_frames: Frames of a file that were passed on already.

    Raises:
        OpeningError: It may not, or cannot.
    """
    request = Request(
        medium="rtsp",
        realtime=settings.realtime,
        frame_rate_hz=settings.frame_rate_hz or 30.0,
        skip_frames=skip_frames,
        take_luma=settings.take_luma,
        verify_tls=settings.verify_tls,
        max_pixels=settings.max_frame_pixels,
        memory_bytes=settings.memory_bytes,
    )
    try:
        if settings.url is not None:
            return _camera(settings, parse_camera_url(settings.url.get_secret_value()), allow, request)
        if settings.path is not None:
            descriptor = allow.open_path(settings.path)
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            return Medium(
                replace(request, medium="folder" if is_folder else "file", media_fd=descriptor), (descriptor,)
            )
        if settings.device is not None:
            device = allow.check_device(settings.device)
            return Medium(replace(request, medium="device", device=str(device), options=_device_options(settings)))
    except RefusedError as error:
        raise OpeningError("refused", str(error)) from None
    except FileNotFoundError:
        raise OpeningError("not_found", f"there is no {settings.shown}") from None
    except PermissionError:
        raise OpeningError("refused", f"{settings.shown} may not be read by this user") from None
    except OSError as error:
        raise OpeningError("lost", f"opening {settings.shown} gave: {error.strerror}") from None
    raise ValueError("a source must have a url, path or device")


def check_allowed(settings: SourceSettings, allow: SourceAllowList) -> None:
    """Check whether a source may be read, without connecting to it; whether it is there is another question.

    Raises:
        RefusedError: It may not.
    """
    with contextlib.suppress(OpeningError, OSError):
        if settings.url is not None:
            camera = parse_camera_url(settings.url.get_secret_value())
            _allowed_addresses(camera, allow)
        elif settings.path is not None:
            os.close(allow.open_path(settings.path))
        elif settings.device is not None:
            allow.check_device(settings.device)


def open_upload_medium(*, max_pixels: int, max_spool_bytes: int, memory_bytes: int) -> tuple[Medium, socket.socket]:
    """Make what a child needs to read an upload.

    Args:
        max_pixels: Largest frame.
        max_spool_bytes: Largest video that must be whole before it can be decoded.
        memory_bytes: Address space of the child.

    Returns:
        The medium, and the socket that takes the bytes of the upload.
    """
    sender, receiver = socket.socketpair()
    with tempfile.TemporaryFile() as spool:
        spool_fd = os.dup(spool.fileno())
    request = Request(
        medium="upload",
        media_fd=receiver.detach(),
        spool_fd=spool_fd,
        max_pixels=max_pixels,
        max_spool_bytes=max_spool_bytes,
        memory_bytes=memory_bytes,
    )
    return Medium(request, (request.media_fd, request.spool_fd)), sender


def _camera(settings: SourceSettings, camera: CameraAddress, allow: SourceAllowList, request: Request) -> Medium:
    addresses = _allowed_addresses(camera, allow)
    connection = _connect(camera, addresses, timeout_s=settings.open_timeout_s)
    return Medium(
        replace(
            request,
            medium="rtsp" if settings.kind == "rtsp" else "multipart",
            media_fd=connection,
            url=camera.url,
            tls_host=camera.host if camera.scheme in ("rtsps", "https") else None,
            options={"timeout": str(int(settings.stall_timeout_s * MICROSECONDS))} if settings.kind == "rtsp" else None,
        ),
        (connection,),
    )


def _allowed_addresses(camera: CameraAddress, allow: SourceAllowList) -> list[IpAddress]:
    """Give what a camera's name stands for, if all of it may be connected to."""
    allow.check_name(camera)
    addresses = _resolve(camera)
    allow.check_addresses(camera, addresses)
    return addresses


def _resolve(camera: CameraAddress) -> list[IpAddress]:
    """Ask for a name once: what is checked is what is connected to, whatever the name stands for later."""
    try:
        answers = socket.getaddrinfo(camera.host, camera.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OpeningError("unreachable", f"the name {camera.host} is not known") from None
    return [ipaddress.ip_address(answer[4][0]) for answer in answers]


def _connect(camera: CameraAddress, addresses: list[IpAddress], *, timeout_s: float) -> int:
    failure = "no address"
    for address in addresses:
        try:
            connection = socket.create_connection((str(address), camera.port), timeout=timeout_s / len(addresses))
        except TimeoutError:
            failure = "no answer in time"
        except OSError as error:
            failure = error.strerror or type(error).__name__
        else:
            connection.setblocking(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection.detach()
    raise OpeningError("unreachable", f"connecting to {camera.host}:{camera.port} gave: {failure}")


def _device_options(settings: SourceSettings) -> dict[str, str]:
    """Give the options of FFmpeg's V4L2 input."""
    options = {
        "input_format": settings.device_format,
        "video_size": settings.device_size,
        "framerate": None if settings.frame_rate_hz is None else f"{settings.frame_rate_hz:g}",
    }
    return {name: value for name, value in options.items() if value is not None}
