"""Server and trainer call the same videos true colour: what a server refuses, nobody should have trained on."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from loddis_server.sources.media_error import MediaError
from loddis_server.sources.pixels import to_gray
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.readers.videos import decode_frames

SIZE_HW = (48, 64)


def write_video(path: Path, *, chroma: int, share: float) -> None:
    """Write one frame without loss, whose chroma is off neutral by so much in this share of it."""
    height, width = SIZE_HW
    planes = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    off = planes[height:].reshape(2, -1)
    off[0, : round(share * off.shape[1])] += np.uint8(chroma)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for packet in (*stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")), *stream.encode()):
            container.mux(packet)


@pytest.mark.parametrize(
    ("chroma", "share", "coloured"), [(0, 1, False), (12, 1, False), (13, 1, True), (90, 0.005, False), (90, 0.1, True)]
)
def test_a_video_is_in_colour_for_both_or_for_none(tmp_path: Path, chroma: int, share: float, coloured: bool) -> None:
    path = tmp_path / "clip.mkv"
    write_video(path, chroma=chroma, share=share)

    def server_refuses() -> bool:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            try:
                to_gray(frame, check_colour=True, take_luma=False)
            except MediaError:
                return True
        return False

    def trainer_refuses() -> bool:
        try:
            list(decode_frames(path, (0,)))
        except DataError:
            return True
        return False

    assert (server_refuses(), trainer_refuses()) == (coloured, coloured)
