"""A real RTSP server on loopback, with a counter in its pictures: GStreamer's, on Debian's own Python.

    /usr/bin/python3 tests/support/rtsp_server.py --port 0 --epoch 1700000000 --fps 25 --codec h264

It prints its port. The counter is the number of frame periods since `--epoch`, so it goes on over a restart of the
server as a camera's would: what was missed in between shows. Runs alone, so it imports nothing of this project.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

WIDTH, HEIGHT = 192, 96
BITS, BLOCK = 24, 16  # the counter: blocks of 16 x 16, two rows of twelve, white is 1
BLACK, WHITE = 40, 210
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 config-interval=-1",
    "mjpeg": "jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26",
}


def picture(counter: int, *, coloured: bool) -> bytes:
    """Draw a counter as I420."""
    rows = []
    for row in range(HEIGHT // BLOCK):
        line = bytearray()
        for column in range(WIDTH // BLOCK):
            bit = row * (WIDTH // BLOCK) + column
            level = WHITE if bit < BITS and counter >> bit & 1 else BLACK
            line += bytes([level]) * BLOCK
        rows.append(bytes(line) * BLOCK)
    chroma = WIDTH * HEIGHT // 4
    return b"".join(rows) + bytes([200 if coloured else 128]) * chroma + bytes([60 if coloured else 128]) * chroma


class Feed:
    """Pushes pictures into one pipeline, each at its time."""

    def __init__(self, source: Gst.Element, options: argparse.Namespace) -> None:
        self._source = source
        self._options = options
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        options = self._options
        period_s = 1 / options.fps
        first = counter = int((time.time() - options.epoch) * options.fps) + 1
        while True:
            due = options.epoch + counter * period_s
            time.sleep(max(0.0, due - time.time()))
            if not options.silent_after or counter - first < options.silent_after:
                buffer = Gst.Buffer.new_wrapped(picture(counter, coloured=options.coloured))
                buffer.pts = int((counter - first) * period_s * Gst.SECOND)
                buffer.duration = int(period_s * Gst.SECOND)
                if self._source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                    return
            counter = max(counter + 1, int((time.time() - options.epoch) * options.fps))


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch", type=float, required=True, help="when the counter was 0, seconds since 1970")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--codec", choices=sorted(ENCODERS), default="h264")
    parser.add_argument("--user", help="NAME:PASSWORD to ask for")
    parser.add_argument("--coloured", action="store_true")
    parser.add_argument("--silent-after", type=int, default=0, help="frames after which no more come")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( appsrc name=frames is-live=true format=time block=true max-bytes=0 "
        f"caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={options.fps}/1 ! "
        f"{ENCODERS[options.codec]} )"
    )
    factory.connect("media-configure", lambda _, media: Feed(media.get_element().get_by_name("frames"), options))
    if options.user:
        name, _, password = options.user.partition(":")
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
        auth.add_digest(name, password, token)
        server.set_auth(auth)
        rights = "viewer,media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
        factory.add_role_from_structure(Gst.Structure.new_from_string(rights))
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {options.port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
