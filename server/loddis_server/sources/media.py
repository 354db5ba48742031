"""From what the parent has opened to frames: demux, decode, take the infrared channel."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from loddis_server.sources.camera_connection import CameraConnector
from loddis_server.sources.checks import NO_PROTOCOL, check_size, is_checked_for_colour, refuse_other_files
from loddis_server.sources.image_folder import read_images
from loddis_server.sources.media_error import MediaError, media_error_of
from loddis_server.sources.multipart import MultipartBody
from loddis_server.sources.pacing import MIN_RATE_HZ, Pacer
from loddis_server.sources.pixels import to_gray
from loddis_server.sources.relay import RtspRelay
from loddis_server.sources.upload_file import ReadableFile, open_upload
from loddis_server.sources.wire import Ended, FrameMessage, Message, Opened, Request

__all__ = ["read_media"]

# Containers that hold their own bytes. Playlists, SDP, concat scripts and patterns of file names are not among them.
CONTAINERS = (
    "matroska,webm,mov,mp4,avi,mpegts,mpeg,h264,hevc,obu,ivf,mjpeg,mpjpeg,flv,ogg,asf,nut,mxf,m4v,gif,apng,yuv4mpegpipe"
)
FILE_BUFFER_BYTES = 256 * 2**10
LIVE_BUFFER_BYTES = 32 * 2**10
MAX_DAMAGED_PACKETS = 500  # in a row, then it is no video
PLAUSIBLE_RATE_HZ = (MIN_RATE_HZ, 2000.0)
RTSP_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "protocol_whitelist": "rtsp,tcp",
    # Nothing is guessed from the first frames, which would be held back for that and come late.
    "fpsprobesize": "0",
    "analyzeduration": "1",
}
NAMES = {
    "rtsp": "camera's stream",
    "multipart": "camera's stream",
    "device": "device",
    "file": "file",
    "upload": "video",
}


def read_media(request: Request) -> Iterator[Message]:
    """Read a medium to its end: `Opened`, frames, `Ended`.

    Args:
        request: What the parent has opened.

    Raises:
        MediaError: It cannot be read, or not any further.
    """
    frames = read_images(request) if request.medium == "folder" else _container(request)
    pacer: Pacer | None = None
    for message in frames:
        if request.realtime and isinstance(message, Opened):
            pacer = Pacer(message.frame_rate_hz)
        elif pacer is not None and isinstance(message, FrameMessage):
            pacer.wait(message.pts_s)
            message = replace(message, captured_at=time.time())  # a camera would give it now
        yield message
    yield Ended()


def _container(request: Request) -> Iterator[Message]:
    with contextlib.ExitStack() as stack:
        relay: RtspRelay | None = None
        try:
            if request.medium == "rtsp":
                connector = stack.enter_context(CameraConnector(request))
                relay = stack.enter_context(RtspRelay(connector.connect()))
            container = stack.enter_context(_open(request, relay, stack))
            stream = _video_of(container, max_pixels=request.max_pixels)
            stream.codec_context.thread_count = 1  # the cores belong to the network
            stream.codec_context.copy_opaque = True  # the time of arrival goes along with the picture
            yield Opened(container.format.name, stream.codec_context.name, _frame_rate(stream))
            yield from _frames(container, stream, request)
        except (OSError, ValueError, MemoryError, av.error.FFmpegError) as error:
            if relay is not None and relay.failure is not None:
                raise relay.failure from None
            raise media_error_of(error, doing=f"reading the {NAMES[request.medium]}") from None
        if relay is not None and relay.failure is not None:
            raise relay.failure
    if request.medium in ("rtsp", "multipart", "device"):
        raise MediaError("lost", f"the {NAMES[request.medium]} ended")


def _open(request: Request, relay: RtspRelay | None, stack: contextlib.ExitStack) -> InputContainer:
    """Open the medium with FFmpeg, which gets no more rights than that takes; `stack` closes what lies under it."""
    options = dict(request.options or {})
    if relay is not None:
        options |= RTSP_OPTIONS
        return av.open(_through(relay, request.url), "r", format="rtsp", options=options)
    if request.medium == "device":
        return av.open(request.device, "r", format="v4l2", options=options)
    if request.medium == "multipart":
        connector = stack.enter_context(CameraConnector(request))
        body = stack.enter_context(contextlib.closing(MultipartBody(connector.connect, request.url)))
        return av.open(body, "r", format="mpjpeg", options=options, buffer_size=LIVE_BUFFER_BYTES)
    file: ReadableFile
    if request.medium == "upload":
        file = open_upload(request.media_fd, request.spool_fd, max_spool_bytes=request.max_spool_bytes)
    else:
        file = os.fdopen(request.media_fd, "rb", buffering=0)
    stack.enter_context(contextlib.closing(file))
    options |= {"format_whitelist": CONTAINERS, "protocol_whitelist": NO_PROTOCOL}
    try:
        return av.open(file, "r", options=options, buffer_size=FILE_BUFFER_BYTES, io_open=refuse_other_files)
    except av.error.ArgumentError:  # what FFmpeg says of a demuxer that is not on the list
        raise MediaError("unsupported", "the container is none that is taken; playlists and scripts are not") from None


def _through(relay: RtspRelay, url: str) -> str:
    """Give a camera's URL with the relay in the camera's place."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(scheme="rtsp", netloc=f"{user}{at}127.0.0.1:{relay.port}").geturl()


def _video_of(container: InputContainer, *, max_pixels: int) -> VideoStream:
    if not container.streams.video:
        raise MediaError("unsupported", f"there is no video in it, only {len(container.streams)} other streams")
    video = container.streams.video[0]
    check_size(video.codec_context.width, video.codec_context.height, max_pixels=max_pixels)
    for stream in container.streams:
        if stream.index != video.index:
            stream.discard = Discard.all
    return video


def _frames(container: InputContainer, stream: VideoStream, request: Request) -> Iterator[Message]:
    """Decode; leave out what did not arrive whole: half a picture is full of targets that are none."""
    has_times = request.medium != "multipart"  # its demuxer makes them up
    count = damaged = damaged_in_a_row = 0
    for packet in container.demux(stream):
        packet.opaque = time.time()
        try:
            pictures = packet.decode()
            damaged_in_a_row = 0
        except (av.error.InvalidDataError, av.error.PatchWelcomeError) as error:
            # What FFmpeg does not know is a video that it cannot decode; after frames that it could, a broken packet.
            is_unknown = isinstance(error, av.error.PatchWelcomeError) and not count
            pictures = []
            damaged += 1
            damaged_in_a_row += 1
            if is_unknown or damaged_in_a_row > MAX_DAMAGED_PACKETS:
                raise
        for picture in pictures:
            if picture.is_corrupt:
                damaged += 1
                continue
            count += 1
            if count <= request.skip_frames:
                continue
            check_size(picture.width, picture.height, max_pixels=request.max_pixels)
            yield FrameMessage(
                image=to_gray(picture, check_colour=is_checked_for_colour(count), take_luma=request.take_luma),
                captured_at=picture.opaque if isinstance(picture.opaque, float) else time.time(),
                pts_s=picture.time if has_times else None,
                damaged=damaged,
            )
    if damaged and not count:
        raise MediaError("damaged", f"none of {damaged} frames could be decoded")


def _frame_rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate and PLAUSIBLE_RATE_HZ[0] <= rate <= PLAUSIBLE_RATE_HZ[1] else None
