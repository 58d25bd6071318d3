"""llama.cpp's own server, built from the source that llama-cpp-python is built from.

python -m tests.support.llama_server FOLDER
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.support.browsing import free_port
from tests.support.judge_server import running

NAME = "llama-server"


def build(folder: Path) -> Path:
    """Fetch the source archive of the installed llama-cpp-python and build the server (7 minutes on 2 cores)."""
    if shutil.which("cmake") is None:
        raise SystemExit("llama-server is built with cmake: install it, or leave this bench out")
    with tempfile.TemporaryDirectory(prefix="whylook-llama-") as place:
        name = f"llama-cpp-python=={version('llama-cpp-python')}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", place]
        subprocess.run([*pip, name], check=True)
        with tarfile.open(next(Path(place).glob("*.tar.gz"))) as archive:
            archive.extractall(place, filter="data")
        source, made = next(Path(place).glob("*/vendor/llama.cpp")), Path(place) / "made"
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"]
        subprocess.run(["cmake", "-S", str(source), "-B", str(made), *options], check=True)
        subprocess.run(["cmake", "--build", str(made), "--target", NAME, "--parallel", str(os.cpu_count())], check=True)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(made / "bin" / NAME, folder / NAME))


@contextmanager
def llama_server(binary: Path, vlm: Path, mmproj: Path, *, slots: int, longest: int, threads: int) -> Iterator[str]:
    """Serve a pair with as many slots, each of `longest` tokens; gives the address once it answers."""
    port = free_port()
    options = {
        "model": vlm, "mmproj": mmproj, "parallel": slots, "ctx-size": slots * longest, "threads": threads,
        "host": "127.0.0.1", "port": port, "alias": "demo",
    }  # fmt: skip
    command = [str(binary), "--jinja", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    with running(command, port, ready="/health") as address:
        yield address


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
