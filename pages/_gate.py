"""Who may talk to the app: requests to its own address, from its own pages, and nobody else's page may frame it.

Another site that is open in the same browser can send requests to this machine too; they end here, whatever path they
name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES = ("127.0.0.1", "localhost")
FOREIGN_HOST, FOREIGN_ORIGIN = 421, 403
WORDS = {
    FOREIGN_HOST: "This app answers at http://127.0.0.1:{port} only; through a tunnel, forward the same port.\n",
    FOREIGN_ORIGIN: "Only the app's own pages may ask for this.\n",
}
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob: {sockets}; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere. Streamlit and Vega build code at run time, hence the two `unsafe` words."""


def own_hosts(port: int, names: Sequence[str] = ()) -> frozenset[str]:
    """Every way in which a browser names the app in the header Host; `names` are those of a shared app.

    A shared app may stand behind a proxy, which answers at the usual port.
    """
    own = (*NAMES, *(name.lower() for name in names))
    usual = frozenset(NAMES) if port == 80 else frozenset()
    return frozenset(f"{name}:{port}" for name in own) | usual | frozenset(name.lower() for name in names)


def refusal(scope: Scope, hosts: frozenset[str]) -> int | None:
    """The status a request is refused with, or None where it may pass.

    A websocket must say where it comes from, as every browser does. A link on another page may open the app; nothing
    else may be asked for from another page, be it a picture or a script.
    """
    given: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        given.setdefault(name.lower(), []).append(value.decode("latin-1").strip().lower())
    [host, *others] = given.get(b"host", [""])
    if host not in hosts or others:
        return FOREIGN_HOST
    origins = given.get(b"origin", [])
    shared = host.rpartition(":")[0] not in NAMES and host not in NAMES  # then a proxy may speak https for it
    own = [[f"http://{host}"], [f"https://{host}"]] if shared else [[f"http://{host}"]]
    if (origins or scope["type"] == "websocket") and origins not in own:
        return FOREIGN_ORIGIN
    if set(given.get(b"sec-fetch-site", [])) & {"cross-site", "same-site"} and not _opens_a_page(scope, given):
        return FOREIGN_ORIGIN
    return None


def _opens_a_page(scope: Scope, given: dict[bytes, list[str]]) -> bool:
    navigates = (given.get(b"sec-fetch-mode"), given.get(b"sec-fetch-dest")) == (["navigate"], ["document"])
    return navigates and scope.get("method") in ("GET", "HEAD")


class Gate:
    """ASGI middleware that refuses foreign requests and forbids other pages to frame or read the answers."""

    def __init__(self, app: Asgi, *, port: int, names: Sequence[str] = ()) -> None:
        """`port` is where the app listens, `names` are what a shared app is called."""
        self.app, self.hosts = app, own_hosts(port, names)
        sockets = " ".join(sorted(f"{kind}://{host}" for host in self.hosts for kind in ("ws", "wss")))
        self.words = {status: words.format(port=port).encode() for status, words in WORDS.items()}
        if names:
            told = "This app answers under {} only; whylook app --name adds a name.\n"
            self.words[FOREIGN_HOST] = told.format(", ".join(names)).encode()
        self.headers = [
            (b"content-security-policy", POLICY.format(sockets=sockets).encode()),
            (b"x-frame-options", b"DENY"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        self.names = frozenset(name for name, _ in self.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or passes it on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in self.names]
                message = {**message, "headers": [*kept, *self.headers]}
            await send(message)

        status = refusal(scope, self.hosts)
        if status is None:
            await self.app(scope, receive, protected)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the browser gets a 403
        else:
            plain = [(b"content-type", b"text/plain"), (b"content-length", str(len(self.words[status])).encode())]
            await protected({"type": "http.response.start", "status": status, "headers": plain})
            await protected({"type": "http.response.body", "body": self.words[status]})
