"""The process that serves the app: Streamlit behind the gate, ended with the process that started it.

Started by `core/commands/serve.py` as `python -m pages._server PORT [HOST [NAME ...]]` in the folder of app.py, with a
pipe as standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import FrameType

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from core.errors import WhylookError
from core.sql.pool import end_workers, remove_left_folders, run_sql
from core.store import Store
from pages._assets import ADDRESS, FOLDER, LIBRARIES
from pages._gate import Gate

APP = Path(__file__).resolve().parent.parent / "app.py"
GRACE_SECONDS = 4.0


def main() -> None:
    """Serves until a signal comes or the parent is gone."""
    port, host, names = int(sys.argv[1]), *(sys.argv[2:3] or ["127.0.0.1"]), sys.argv[3:]
    end_on_signals()
    end_with_parent()
    remove_left_folders()
    Thread(target=get_ready, daemon=True).start()
    sys.argv = [str(APP)]  # Streamlit looks for its settings beside what was started
    routes = [
        Route(ADDRESS + "/{name}", give_library),
        Route("/whylook-map/{run}/{place:int}", picture_on_map),
        Route("/summary", to_summary),
    ]
    app = st.App(APP, routes=routes, middleware=[Middleware(Gate, port=port, names=names)])
    app.run(
        config={
            "server.address": host,
            "server.port": port,
            "server.headless": True,
            "browser.gatherUsageStats": False,
        }
    )


def get_ready() -> None:
    """Loads what the first page needs while its visitor's browser is still loading, and starts a process for SQL."""
    for name in ("altair", "core.deck.keep", "core.findings.finding", "core.labels", "pandas"):
        import_module(name)
    with suppress(WhylookError):  # there may be nothing to read yet, or nothing that can be read: the pages say so
        run_sql(Store(Path(os.environ["WHYLOOK_STORE"])), "SELECT 1")  # serve.py names it


def give_library(request: Request) -> Response:
    """A library; its address changes with it."""
    name = request.path_params["name"]
    if name not in LIBRARIES:
        return Response(status_code=404)
    headers = {"cache-control": "max-age=31536000, immutable"}
    return FileResponse(FOLDER / name, media_type="text/javascript", headers=headers)


def picture_on_map(request: Request) -> Response:
    """The picture at a place of a run's map, with its words, as JSON: asked for when the pointer is over it."""
    from pages._map import picture_at  # only now: Streamlit's caches want its server to run when they are made

    found = picture_at(request.path_params["run"], request.path_params["place"])
    return JSONResponse(found) if found else Response(status_code=404)


def to_summary(request: Request) -> Response:
    """The first page has no name in Streamlit's addresses, but people type it like those of the others."""
    return RedirectResponse(f"/?{request.url.query}" if request.url.query else "/")


def end_on_signals() -> None:
    """Ends in order, so that SQL workers and their folders go too; the server passes its signals on to these."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    def as_term(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, as_term)


def end_with_parent() -> None:
    """Ends this process when the parent's end of the pipe closes, which not even kill -9 prevents."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        end_workers()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
