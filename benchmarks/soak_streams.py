"""What a streaming server in use sees, as mixes: cameras that push frames, listeners, videos, sources, queries."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from clips import write_clip
from fuzz_seeds import Body, seeds
from soak_visit import FRAME_HW, Mix, Visit, noise, raw_body, reset_on_close
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.frames import CloseCode

from loddis_runtime.scenes import Scene, SceneConfig

__all__ = ["CLIP", "STREAM_MIXES", "write_camera"]

STREAMS = ("mast-1", "mast-2", "mast-3")
SOCKETS = ("socket-1", "socket-2")
CAMERA = "camera"
CLIP = "clip.mkv"
CLIP_FRAMES = 25
OTHER_HW = (128, 160)
BOUNDARY = "loddis-soak"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
EVENT_QUERIES = ("", "?limit=3", "?kind=source&order=oldest", "?stream_id=mast-1&min_score=0.5", "?limit=0")
PIECE_BYTES = 16_384
ANSWER_LIMIT_S = 20.0


async def stateful_frames(visit: Visit) -> None:
    """Cameras behind gateways: frames of several streams, with gaps, late ones, resets and changes of size."""
    stream = visit.rng.choice(STREAMS)
    kind = visit.rng.choices(("next", "gap", "late", "reset", "size"), (70, 10, 10, 5, 5))[0]
    index = visit.next_index[stream] + (visit.rng.randrange(1, 9) if kind == "gap" else 0)
    index = max(0, index - 3) if kind == "late" else 0 if kind == "reset" else index
    body = raw_body(visit.rng, OTHER_HW if kind == "size" else FRAME_HW)
    about = {"x-stream-id": stream, "x-frame-index": str(index), "x-stream-reset": str(kind == "reset").lower()}
    answer = await visit.post(
        Body(body.name, body.content, {**body.headers, **about}),
        # Late ones are refused; the first frame of a stream, and of one that ended meanwhile, may have any index.
        expected=(200, 409, 503) if kind == "late" else (200, 503),
    )
    if answer is not None and answer.status_code == 200:
        visit.next_index[stream] = index + 1


async def websocket_frames(visit: Visit) -> None:
    """Cameras on a WebSocket: most read their answers, some leave without a word, some never read."""
    height, width = FRAME_HW
    stream = visit.rng.choice(SOCKETS)
    url = f"{visit.url.replace('http', 'ws', 1)}/v1/streams/{stream}/frames?width={width}&height={height}&dtype=uint16"
    with contextlib.suppress(InvalidStatus):  # while the server has no place for it
        async with connect(url, proxy=None, compression=None, open_timeout=ANSWER_LIMIT_S) as connection:
            try:
                await _speak(visit, connection)
            except ConnectionClosedOK as closed:
                if closed.rcvd is None or closed.rcvd.code != CloseCode.GOING_AWAY:
                    raise
                visit.tally.count(visit.mix, "ended")  # nobody sent a frame that counts for as long as a stream waits


async def _speak(visit: Visit, connection: ClientConnection) -> None:
    behaviour = visit.rng.choices(("reads", "vanishes", "spoils"), (60, 30, 10))[0]
    for _ in range(visit.rng.randrange(1, 6)):
        if visit.rng.random() < 0.2:
            await connection.send(json.dumps({"timestamp_s": visit.rng.random(), "reset": True}))
        spoilt = behaviour == "spoils"
        await connection.send(visit.rng.choice((b"short", "no json")) if spoilt else noise(visit.rng).tobytes())
        if behaviour != "vanishes":
            message = json.loads(await asyncio.wait_for(connection.recv(), ANSWER_LIMIT_S))
            visit.tally.count(visit.mix, message["type"])
            if "problem" in message and message["problem"]["status"] == 500:
                visit.tally.faults.append(f"{visit.mix}: {message}")
    if behaviour == "vanishes":
        visit.tally.count(visit.mix, "left")
        connection.transport.abort()


async def listeners(visit: Visit) -> None:
    """Consoles and scripts: NDJSON or SSE, read for a while or not at all."""
    kind = visit.rng.choice(("application/x-ndjson", "text/event-stream"))
    await _listen(visit, f"/v1/streams/{visit.rng.choice((*STREAMS, *SOCKETS, CAMERA))}/detections", accept=kind)


async def previews(visit: Visit) -> None:
    """Somebody who watches."""
    await _listen(visit, f"/v1/streams/{visit.rng.choice((*STREAMS, CAMERA))}/preview", accept="image/jpeg")


async def _listen(visit: Visit, path: str, *, accept: str) -> None:
    """Listen for up to a second; one in three does not read, and one in three leaves without a word."""
    reads, leaves_badly = visit.rng.random() < 0.67, visit.rng.random() < 0.33
    parts = urlsplit(visit.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**12)
    if leaves_badly:
        reset_on_close(writer.get_extra_info("socket"))
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n\r\n".encode())
        status = (await asyncio.wait_for(reader.readuntil(b"\r\n"), ANSWER_LIMIT_S)).split()[1].decode()
        visit.tally.count(visit.mix, status)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(visit.rng.random()):
                if not reads:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                while await reader.read(2**12):
                    pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def batches(visit: Visit) -> None:
    """Archives: several files in a form, now and then a spoiled one."""
    files = [visit.rng.choice(seeds()) for _ in range(visit.rng.randrange(1, 5))]
    files = [file for file in files if not file.headers] or [seeds()[0]]
    head = 'Content-Disposition: form-data; name="frame"; filename="f"'
    parts = [f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + file.content + b"\r\n" for file in files]
    content = b"".join(parts)[: None if visit.rng.random() < 0.9 else -visit.rng.randrange(1, 500)]
    body = Body(
        "batch", content + f"--{BOUNDARY}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    )
    await visit.post(body, path="/v1/detect/batch")


async def videos(visit: Visit) -> None:
    """Recordings: uploaded whole, cut short by their sender, or left in the middle of the answer."""
    clip = (visit.folder / CLIP).read_bytes()
    ending = visit.rng.choice(("whole", "short", "broken off", "unread"))
    cut = len(clip) if ending in ("whole", "unread") else visit.rng.randrange(1, len(clip))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, cut, PIECE_BYTES):
            yield clip[start : min(cut, start + PIECE_BYTES)]
        if ending == "broken off":
            raise ConnectionAbortedError

    try:
        async with visit.client.stream("POST", "/v1/videos", content=pieces()) as answer:
            visit.tally.note(visit.mix, answer)
            async for line in answer.aiter_lines():
                if ending == "unread":
                    break
                visit.tally.count(visit.mix, json.loads(line)["type"])
    except (ConnectionAbortedError, httpx.TransportError):
        if ending != "broken off":
            raise
        visit.tally.count(visit.mix, "left")


async def sources(visit: Visit) -> None:
    """Operators: a camera is set up, looked at, and taken away."""
    wanted = {"stream_id": CAMERA, "source": {"path": str(visit.folder / CLIP), "realtime": True}}
    answer = await visit.client.post("/v1/streams", json=wanted)
    visit.tally.note(visit.mix, answer)
    if answer.status_code != 201:
        visit.tally.faults.append(f"{visit.mix}: {answer.status_code} {answer.text[:300]}")
        return
    await asyncio.sleep(2 * visit.rng.random())  # now before its first frame, now in the middle, now after its end
    visit.tally.note(visit.mix, await visit.client.get(f"/v1/streams/{CAMERA}"))
    gone = await visit.client.delete(f"/v1/streams/{CAMERA}")
    visit.tally.note(visit.mix, gone)
    if gone.status_code != 204:
        visit.tally.faults.append(f"{visit.mix}: {gone.status_code} {gone.text[:300]}")


async def event_queries(visit: Visit) -> None:
    """A console: the newest events, a filter, a page further, a picture."""
    query = visit.rng.choice(
        ("", "?limit=3", "?kind=source&order=oldest", "?stream_id=mast-1&min_score=0.5", "?limit=0")
    )
    answer = await visit.client.get(f"/v1/events{query}")
    visit.tally.note(visit.mix, answer)
    for event in answer.json().get("events", [])[:1]:
        visit.tally.note(visit.mix, await visit.client.get(f"/v1/events/{event['id']}/thumbnail"))


async def protocol_requests(visit: Visit) -> None:
    """Clients of the Open Inference Protocol: an image as a binary tensor, and metadata."""
    if visit.rng.random() < 0.3:
        path = visit.rng.choice(("/v2", "/v2/models/stats", "/v2/health/ready", "/v2/models/nothing"))
        visit.tally.note(visit.mix, await visit.client.get(path))
        return
    frame = noise(visit.rng)
    tensor = {
        "name": "image",
        "datatype": "UINT16",
        "shape": list(frame.shape),
        "parameters": {"binary_data_size": frame.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": visit.rng.random() < 0.5}}).encode()
    name = (await visit.client.get("/v1/models")).json()["models"][0]["name"]
    body = Body("tensor", head + frame.tobytes(), {"inference-header-content-length": str(len(head))})
    await visit.post(body, path=f"/v2/models/{name}/infer", expected=(200, 503))


STREAM_MIXES = (
    Mix(stateful_frames, rate=10.0),
    Mix(websocket_frames, rate=1.0),
    Mix(listeners, rate=2.0),
    Mix(previews, rate=0.5),
    Mix(batches, rate=1.0),
    Mix(videos, rate=0.3),
    Mix(sources, rate=0.3),
    Mix(event_queries, rate=2.0),
    Mix(protocol_requests, rate=1.0),
)


def write_camera(folder: Path) -> None:
    """Write the video that is uploaded, and that a source reads."""
    (folder / CLIP).write_bytes(_clip())


@cache
def _clip() -> bytes:
    """Give a second of a rendered scene, 16-bit."""
    out = io.BytesIO()
    scene = Scene(SceneConfig(size_hw=FRAME_HW, frames=CLIP_FRAMES, seed=0, bit_depth=16))
    write_clip(out, (frame.image for frame in scene), size_hw=FRAME_HW, fps=CLIP_FRAMES)
    return out.getvalue()
