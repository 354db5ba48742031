"""Pin anew what the project installs: resolve with pip, install nothing, write run.txt and dev.txt.

run.txt holds what a machine that only detects needs (server with all that it can talk to, both ONNX Runtime builds,
demo, client);
dev.txt holds what tests, training and export need besides. Call it as `make constraints`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
CLIENT: Final = "./clients/python"
OWN: Final = {"loddis", "loddis-client"}
HEADING: Final = "What detecting needs: extras server, postgresql, opentelemetry, cpu, demo and gpu, and the client."
TORCH: Final = "torch==2.13.0"  # one exact release: a CPU build of it is what pip finds on machines without a GPU


def resolve(*requirements: str, constraints: tuple[Path, ...] = ()) -> dict[str, str]:
    """Return what pip would install into an empty environment, as canonical name → version without local part."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    for path in constraints:
        command += ["--constraint", str(path)]
    report = subprocess.run([*command, *requirements], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603
    installed = (item["metadata"] for item in json.loads(report)["install"])
    versions = {item["name"].lower().replace("_", "-"): item["version"].partition("+")[0] for item in installed}
    return {name: version for name, version in sorted(versions.items()) if name not in OWN}


def write(path: Path, heading: str, versions: dict[str, str]) -> None:
    """Write one constraints file with the word that says how to make it."""
    pins = "".join(f"{name}=={version}\n" for name, version in versions.items())
    path.write_text(f"# {heading}\n# Made by `make constraints`; do not edit by hand.\n{pins}")
    print(f"{path.relative_to(ROOT)}: {len(versions)} packages")


def main() -> None:
    """Resolve the run environment first, so that the development environment holds the same versions."""
    run = resolve(".[server,postgresql,opentelemetry,cpu,demo]", CLIENT)
    run_path = HERE / "run.txt"
    write(run_path, HEADING, run)
    run = dict(sorted((resolve(".[server,gpu]", constraints=(run_path,)) | run).items()))
    write(run_path, HEADING, run)
    dev = resolve(".[dev]", CLIENT, TORCH, constraints=(run_path,))
    extra = {name: version for name, version in dev.items() if name not in run}
    write(HERE / "dev.txt", "What tests, training and export need besides run.txt (use both).", extra)


if __name__ == "__main__":
    main()
