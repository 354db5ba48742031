"""The command `loddis-client`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.table import Table

from loddis_client import (
    Client,
    DetectionResult,
    FrameError,
    FrameProblem,
    LoddisClientError,
    SourceState,
    StreamEnd,
    StreamMessage,
    StreamResult,
    UsageError,
)
from loddis_client._requests import DEFAULT_URL, check_options

__all__ = ["main", "run"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm", ".npy"}
OK, FAILED, USED_WRONGLY, INTERRUPTED = 0, 1, 2, 130


def main() -> NoReturn:
    """Run the command; exit status 0 done, 1 failed, 2 used wrongly."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, those of the process by default; give the exit status."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as request:
        return int(request.code or 0)
    try:
        status: int = options.do(options)
        return status
    except UsageError as error:
        _complain(str(error))
        return FAILED if isinstance(error, FrameError) else USED_WRONGLY
    except (LoddisClientError, OSError) as error:
        _complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "--url", default=os.environ.get("LODDIS_URL", DEFAULT_URL), help="server; LODDIS_URL (default: %(default)s)"
    )
    server.add_argument("--api-key", default=os.environ.get("LODDIS_API_KEY"), help="API key; LODDIS_API_KEY")
    server.add_argument("--timeout-s", type=float, default=30.0, help="seconds for an answer (default: %(default)s)")
    server.add_argument("--json", action="store_true", help="print JSON, for programs")

    parser = argparse.ArgumentParser("loddis-client", description="Talk to a Loddis infrared detection server.")
    version = f"loddis-client {metadata.version('loddis-client')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="{detect,watch,models}")

    detect = commands.add_parser("detect", parents=[server], help="detect in image files")
    detect.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image or .npy file, or a folder of them")
    detect.add_argument("--model", help="NAME or NAME:VERSION; the server's default if none")
    detect.add_argument("--score-threshold", type=float, help="only scores from here on, 0 to 1")
    detect.add_argument("--max-detections", type=int, help="the best so many of a frame")
    detect.add_argument("--concurrency", type=int, default=4, help="requests at once (default: %(default)s)")
    detect.add_argument("--output", type=Path, metavar="FILE", help="write a line of JSON a frame")
    detect.add_argument("--overlay", type=Path, metavar="FOLDER", help="save pictures with the detections drawn in")
    detect.set_defaults(do=_detect)

    watch = commands.add_parser("watch", parents=[server], help="tell what happens on a stream until it ends")
    watch.add_argument("stream_id", metavar="STREAM", help="name of the stream")
    watch.set_defaults(do=_watch)

    models = commands.add_parser("models", parents=[server], help="list the server's models")
    models.set_defaults(do=_models)
    return parser


def _detect(options: argparse.Namespace) -> int:
    check_options(score_threshold=options.score_threshold, max_detections=options.max_detections, model=options.model)
    paths = list(_files(options.paths))
    pictures = _picture_names(paths, options.overlay) if options.overlay is not None else None
    asked = {"score_threshold": options.score_threshold, "max_detections": options.max_detections}
    failed = 0
    table = Table("file", "target", "score", "box x1 y1 x2 y2", "centre x y", "SNR")
    with (
        Client(options.url, api_key=options.api_key, timeout_s=options.timeout_s, model=options.model) as client,
        _opened(options.output) as output,
    ):
        results = client.detect_many(paths, concurrency=options.concurrency, on_error="yield", **asked)
        for path, result in zip(paths, results, strict=True):
            outcome = result
            if pictures is not None and isinstance(result, DetectionResult):
                outcome = _save_picture(client, path, pictures[path], asked) or result
            if isinstance(outcome, LoddisClientError):
                failed += 1
                _complain(str(outcome) if str(path) in str(outcome) else f"{path}: {outcome}")
                line = json.dumps({"file": str(path), "error": str(outcome)})
            else:
                line = json.dumps({"file": str(path), **outcome.to_dict()})
                _add_rows(table, path, outcome)
            # As it comes: whoever interrupts an hour's work keeps the hour.
            if output is not None:
                print(line, file=output, flush=True)
            if options.json:
                print(line, flush=True)
    if not options.json and table.row_count:
        _console().print(table)
    return FAILED if failed else OK


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO | None]:
    """Open the file for results, if there is to be one, before any work is done."""
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield file


def _picture_names(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Name a picture for each file: its own name as PNG, with as much of its folders as it takes to tell them apart."""
    names = {path: Path(f"{path.stem}.png") for path in paths}
    if len(set(names.values())) < len(names):
        names = {path: Path(f"{path.name}.png") for path in paths}
    if len(set(names.values())) < len(names):
        common = Path(os.path.commonpath([path.absolute().parent for path in names]))
        names = {path: path.absolute().relative_to(common).with_name(f"{path.name}.png") for path in paths}
    return {path: folder / name for path, name in names.items()}


def _save_picture(client: Client, path: Path, target: Path, asked: dict[str, Any]) -> LoddisClientError | None:
    """Save a frame with its detections drawn in; give the error if the server does not make one."""
    try:
        picture = client.detect_image(path, **asked)
    except LoddisClientError as error:
        return error
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(picture)
    return None


def _watch(options: argparse.Namespace) -> int:
    """Print what happens, a line each; with `--json`, every message."""
    console = _console()
    with Client(options.url, api_key=options.api_key, timeout_s=options.timeout_s) as client:
        for message in client.stream_detections(options.stream_id):
            if options.json:
                print(json.dumps(message.details), flush=True)
            else:
                for line in _happenings(message):
                    console.print(line, soft_wrap=True)
    return OK


def _happenings(message: StreamMessage) -> Iterator[str]:
    """Say what a message tells that was not so before."""
    match message:
        case StreamResult():
            at = f"frame {message.frame_index}:"
            for track in message.new_tracks:
                x, y = track.centroid_xy
                yield f"{at} new track {track.track_id}, {track.class_name} {track.score:.2f} at {x:.1f} {y:.1f}"
            for identity in message.alarms.ended:
                yield f"{at} track {identity} is lost"
            for condition in message.health.began:
                yield f"{at} the sensor is not well: {condition}"
            for condition in message.health.ended:
                yield f"{at} the sensor is well again: {condition}"
        case SourceState():
            yield f"source {message.state}" + (f": {message.cause}" if message.cause else "")
        case FrameProblem():
            yield f"refused: {message.problem.detail}"
        case StreamEnd():
            yield f"the stream has ended after {message.frames} frames: {message.reason}"


def _models(options: argparse.Namespace) -> int:
    with Client(options.url, api_key=options.api_key, timeout_s=options.timeout_s) as client:
        models = client.models()
    if options.json:
        print(json.dumps([model.details for model in models]))
        return OK
    table = Table("model", "version", "state", "default")
    for model in models:
        table.add_row(model.name, model.version, model.state, "yes" if model.default else "")
    _console().print(table)
    return OK


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not inside:
            raise FrameError(f"{path} holds no images ({', '.join(sorted(SUFFIXES))})")
        yield from inside


def _add_rows(table: Table, path: Path, result: DetectionResult) -> None:
    if not result.detections:
        table.add_row(path.name, "–", "", "", "", "")
    for number, found in enumerate(result.detections):
        box = " ".join(f"{value:.1f}" for value in found.box_xyxy)
        centre = " ".join(f"{value:.1f}" for value in found.centroid_xy)
        name = path.name if number == 0 else ""
        table.add_row(name, found.class_name, f"{found.score:.2f}", box, centre, f"{found.snr:.1f}")


def _console() -> Console:
    """Give where to print: names of files, classes and models, and what a server says, are no markup."""
    return Console(markup=False, emoji=False, highlight=False)


def _complain(message: str) -> None:
    print(f"loddis-client: error: {' '.join(message.split())}", file=sys.stderr)
