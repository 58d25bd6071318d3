"""llama-cpp-python's own OpenAI-compatible server as a child process, with the demo judge behind it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.support.browsing import free_port

TYPED = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}{{ part.text }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The demo judge's chat template for content in parts, which is what servers are sent."""


def with_typed_template(source: Path, target: Path) -> Path:
    """A copy of a GGUF file with that template."""
    command = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", "--force", "--chat-template", TYPED]
    subprocess.run([*command, str(source), str(target)], check=True, capture_output=True)
    return target


@contextmanager
def judge_server(vlm: Path, mmproj: Path, *, key: str | None = None, logprobs: bool = True) -> Iterator[str]:
    """Serve a pair; gives the address once it answers."""
    port = free_port()
    options = {
        "model": vlm, "clip_model_path": mmproj, "chat_format": "mtmd", "n_ctx": 1024, "n_threads": 1, "port": port,
        "logits_all": logprobs, "model_alias": "demo", "verbose": False, "interrupt_requests": False,
    }  # fmt: skip
    command = [sys.executable, "-m", "llama_cpp.server"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    environment = {name: value for name, value in os.environ.items() if name != "API_KEY"}
    if key:
        environment["API_KEY"] = key
    with running(command, port, ready="/v1/models", environment=environment) as address:
        yield address


@contextmanager
def running(
    command: Sequence[str], port: int, *, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A server as a child process; gives its address once it answers at the path `ready`, and ends it afterwards."""
    address = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log) as server,
    ):
        try:
            _wait(address + ready, server, log)
            yield address
        finally:
            server.terminate()


def _wait(address: str, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except urllib.error.HTTPError as error:
            if error.code != 503:  # which says that it is loading
                return  # it answers, if only that a key is missing
            time.sleep(0.2)
        except OSError:
            if server.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"the server ended: {log.read().decode()[-2000:]}") from None
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{address} does not answer")
