"""Run an image's root file system as a container engine would: own process, mount and network namespaces.

Only util-linux and iproute2 are needed, and root. What compose.yaml promises is done here too: read-only root, tmpfs,
no capabilities, no new privileges, the image's own user. The process is PID 1 of its namespace, so that a signal
without a handler does nothing, as in a container.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from support.images import ImageConfig

__all__ = ["NAMESPACES", "Container"]

NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts")
DEVICES = ("null", "zero", "full", "random", "urandom")
POLL_S = 0.05

# $1 root, $2 tmpfs folders, $3 bind mounts SOURCE:TARGET, the rest is run inside the root.
ENTER = f"""
root=$1 tmpfs=$2 binds=$3; shift 3
ip link set lo up
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/dev"
for name in {" ".join(DEVICES)}; do : > "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/shm"; mount -t tmpfs tmpfs "$root/dev/shm"
for folder in $tmpfs; do mount -t tmpfs tmpfs "$root$folder"; done
for pair in $binds; do
    mount --bind "${{pair%%:*}}" "$root${{pair#*:}}"
    mount -o remount,bind,ro "$root${{pair#*:}}"
done
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


class Container:
    """One process in a root file system, started on entry of the `with` block and gone after it."""

    def __init__(
        self,
        root: Path,
        config: ImageConfig,
        *,
        log: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        tmpfs: Sequence[str] = ("/tmp",),
        read_only_mounts: Mapping[Path, str] | None = None,
    ) -> None:
        """Describe the container; nothing runs yet.

        Args:
            root: Root file system; it is only read.
            config: Of the image: user, entrypoint, environment.
            log: File that takes stdout and stderr.
            arguments: Instead of the image's command.
            environment: On top of the image's.
            tmpfs: Folders that can be written.
            read_only_mounts: Folders of this machine → where they are seen inside.
        """
        self.root = root
        self.config = config
        self.log = log
        self.environment = {"HOME": "/nonexistent", **config.environment, **(environment or {})}
        self._tmpfs = tmpfs
        self._mounts = read_only_mounts or {}
        self._arguments = [*config.entrypoint, *(arguments or config.command)]
        self._unshare: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Of the process as this machine counts; inside it is 1."""

    def __enter__(self) -> Self:
        """Start the process; it has not been waited for."""
        binds = " ".join(f"{source}:{target}" for source, target in self._mounts.items())
        command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-euc", ENTER, "enter"]
        command += [str(self.root), " ".join(self._tmpfs), binds, *self._as_user(self._arguments)]
        with self.log.open("wb") as log:
            self._unshare = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while self._unshare.poll() is None and not self.pid:
            self.pid = int(children.read_text() or 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what is left."""
        if self._unshare is not None:
            if self._unshare.poll() is None:
                # Not its parent: a process that changes its user, as this one did, outlives the parent it is bound to.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid or self._unshare.pid, signal.SIGKILL)
            self._unshare.wait()

    def wait_until_healthy(self, *, timeout_s: float) -> None:
        """Repeat the image's health check, as an engine does, until it succeeds.

        Raises:
            RuntimeError: The process ended, or the time ran out; the message holds the log.
        """
        deadline = time.monotonic() + timeout_s
        kind, *words = self.config.health_check
        if kind != "CMD":
            raise RuntimeError(f"expected a health check of the kind CMD, got {self.config.health_check}")
        while True:
            checked = self.execute(*words) if self._inside() else None
            if checked is not None and checked.returncode == 0:
                return
            if self.exit_status() is not None:
                raise RuntimeError(f"the process ended with status {self.exit_status()}:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                said = f"{checked.stdout}{checked.stderr}" if checked else "nothing"
                raise RuntimeError(f"not healthy after {timeout_s:g} s: {said}\n{self.log.read_text()}")
            time.sleep(POLL_S)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the image's user, like `docker exec`."""
        return self._enter(["--mount", "--pid", "--root", "--wd"], self._as_user(command))

    def beside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the container's network: what reaches its ports."""
        return self._enter([], command)

    def status(self) -> dict[str, str]:
        """Read what the kernel says of the process: `Uid`, `CapEff`, `NoNewPrivs` and so on."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def stop(self, *, timeout_s: float) -> int:
        """Send the image's stop signal and return the exit status; TimeoutExpired if the process outlives the grace."""
        assert self._unshare is not None
        os.kill(self.pid, signal.Signals[self.config.stop_signal])
        return self._unshare.wait(timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Return the exit status of a process that ends by itself; TimeoutExpired if it does not."""
        assert self._unshare is not None
        return self._unshare.wait(timeout_s)

    def exit_status(self) -> int | None:
        """Return the exit status, None while the process runs."""
        return self._unshare.poll() if self._unshare else None

    def _inside(self) -> bool:
        """Tell whether the mounts are done and the image's own program runs."""
        return Path(f"/proc/{self.pid}/root").resolve() == self.root.resolve() and self.status()["NoNewPrivs"] == "1"

    def _as_user(self, command: Sequence[str]) -> list[str]:
        user, _, group = self.config.user.partition(":")
        drop = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--clear-groups", "--no-new-privs"]
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        return [
            *drop,
            "--inh-caps=-all",
            "--bounding-set=-all",
            "env",
            "--ignore-environment",
            f"--chdir={self.config.working_folder}",
            *variables,
            *command,
        ]

    def _enter(self, namespaces: Sequence[str], command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        options = ["--target", str(self.pid), "--net", "--ipc", "--uts", *namespaces]
        return subprocess.run(
            ["nsenter", *options, "--", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    def __str__(self) -> str:
        """Give the command inside, for messages."""
        return shlex.join(self._arguments)
