"""The JavaScript client: its own checks and tests, against real servers; the types of its answers are the server's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from support.bundles import write_spot_bundle
from support.domains import spot_frame
from support.live_server import LiveServer, settings_for
from support.moving import moving_spot
from support.recordings import video

PROJECT = Path(__file__).parents[2] / "clients" / "javascript"
PROGRAMS = Path(sys.executable).parent  # node and npm come with the environment
KEY = "a-long-enough-secret"
FRAMES = 12


def run(*words: str, **environment: str) -> str:
    """Run a command in the client's project; gives what it printed, and fails with it where the command fails."""
    path = os.pathsep.join((str(PROGRAMS), os.environ.get("PATH", "")))
    done = subprocess.run(
        words,
        cwd=PROJECT,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)} failed:\n{done.stdout[-20_000:]}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def modules() -> None:
    """The tools of the project as its lock has them."""
    installed, wanted = PROJECT / "node_modules" / ".package-lock.json", PROJECT / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
        run(str(PROGRAMS / "npm"), "ci")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the tests send."""
    folder = tmp_path_factory.mktemp("javascript-files")
    cv2.imwrite(str(folder / "frame.png"), spot_frame((40.5, 30.5), seed=1))
    (folder / "clip.mkv").write_bytes(video(list(moving_spot(FRAMES))))
    return folder


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[tuple[LiveServer, LiveServer]]:
    """A server without keys that may read the folder and load a second version, and one with a key."""
    root = tmp_path_factory.mktemp("javascript-models")
    write_spot_bundle(root)
    sources = {"folders": [files]}
    with LiveServer(settings_for(root, sources=sources)) as open_, LiveServer(settings_for(root, api_key=KEY)) as keyed:
        write_spot_bundle(root, version="2")
        yield open_, keyed


def test_its_form_and_types_are_right() -> None:
    run(str(PROGRAMS / "npm"), "run", "--silent", "check")


def test_it_does_what_it_says(servers: tuple[LiveServer, LiveServer], files: Path) -> None:
    open_, keyed = servers
    told = run(
        str(PROGRAMS / "node"),
        "--test",
        "--test-timeout=60000",
        "--test-reporter=spec",
        LODDIS_TEST_URL=open_.url,
        LODDIS_TEST_KEYED_URL=keyed.url,
        LODDIS_TEST_KEY=KEY,
        LODDIS_TEST_FILES=str(files),
    )
    counts = {name: int(count) for name, count in re.findall(r"^\S* ?(pass|skipped) (\d+)$", told, re.MULTILINE)}
    assert counts["pass"] > 0, told
    assert counts["skipped"] == 0, told


def test_its_types_are_those_of_the_servers_answers(tmp_path: Path) -> None:
    made = tmp_path / "schema.d.ts"
    run(str(PROGRAMS / "npm"), "run", "--silent", "schema", SCHEMA=str(made))
    is_current = made.read_text() == (PROJECT / "src" / "schema.d.ts").read_text()
    assert is_current, "the server answers otherwise: run `npm run schema` in clients/javascript"


def test_its_declarations_are_those_of_its_sources(tmp_path: Path) -> None:
    run(str(PROGRAMS / "npm"), "run", "--silent", "types", TYPES=str(tmp_path))
    made, kept = (
        {path.name: path.read_text() for path in folder.iterdir()} for folder in (tmp_path, PROJECT / "types")
    )
    by_hand = {"schema.d.ts", "types.d.ts"}  # lead to those in src/
    is_current = made == {name: text for name, text in kept.items() if name not in by_hand}
    assert is_current, "the sources say otherwise: run `npm run types` in clients/javascript"
    assert by_hand < kept.keys()


def install_the_folder(project: Path) -> None:
    """Install as the README says, which makes a link and builds nothing."""
    run(str(PROGRAMS / "npm"), "install", "--silent", "--offline", "--prefix", str(project), str(PROJECT))
    assert (project / "node_modules" / "loddis-client").resolve() == PROJECT


def install_the_package(project: Path) -> None:
    run(str(PROGRAMS / "npm"), "pack", "--silent", "--pack-destination", str(project))
    (package,) = project.glob("loddis-client-*.tgz")
    with tarfile.open(package) as archive:
        archive.extractall(project / "node_modules", filter="data")
    (project / "node_modules" / "package").rename(project / "node_modules" / "loddis-client")


@pytest.mark.parametrize("install", [install_the_folder, install_the_package])
def test_a_project_in_typescript_sees_its_types(install: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module"}')
    install(tmp_path)
    tsc = [str(PROJECT / "node_modules" / ".bin" / "tsc"), "--noEmit", "--strict", "--module", "nodenext"]
    tsc += ["--target", "es2024", "--lib", "es2024,dom,dom.asynciterable"]
    right = """
        import { Client, Overloaded, type FrameMessage } from "loddis-client";
        const { detections } = await new Client({ apiKey: "key" }).detect(new Uint8Array(9), { scoreThreshold: 0.5 });
        const scores: number[] = detections.map((one) => one.score);
        const wait = (error: Overloaded): number => error.retryAfterS ?? 1;
        const newTracks = (message: FrameMessage): number[] => message.alarms.new;
    """
    (tmp_path / "right.ts").write_text(right)
    (tmp_path / "wrong.ts").write_text(right.replace("one.score", "one.scores"))
    run(*tsc, str(tmp_path / "right.ts"))
    with pytest.raises(AssertionError, match="'scores' does not exist"):
        run(*tsc, str(tmp_path / "wrong.ts"))
