"""The C library's heap of a server has few arenas, however many threads allocate."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

THREADS = 8
COUNT_ARENAS = f"""
import ctypes, sys, threading
from loddis_server.heap import limit_arenas
if sys.argv[1] == "limited":
    limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier({THREADS})
def allocate():
    together.wait()
    for _ in range(1000):
        libc.malloc(100)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


def arenas(tmp_path: Path, how: str, **environment: str) -> int:
    told = tmp_path / "heap.xml"
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    subprocess.run([sys.executable, "-c", COUNT_ARENAS, how, told], check=True, env=kept | environment)
    return told.read_text().count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_server_has_few_arenas_unless_its_operator_says_otherwise(tmp_path: Path) -> None:
    assert arenas(tmp_path, "limited") == 2
    assert arenas(tmp_path, "unlimited") > 2
    assert arenas(tmp_path, "limited", MALLOC_ARENA_MAX="4") in (3, 4)
