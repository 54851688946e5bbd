"""Who is answered: whoever has the token, and asks for the server by a name of its own.

A page of another site could otherwise reach a server on this machine through the browser: by a name
that leads here (DNS rebinding), by requests that browsers send without asking, or by showing what
it cannot read.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mass3d.server.refusal import Refused, told

HEADER: Final = "x-mass3d"  # of requests that change something: browsers ask before they send it
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
ALWAYS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a server at this address is reached from this machine only."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str) -> frozenset[str]:
    """By which names a server that listens at `host` may be asked for."""
    own = {host.lower(), *LOOPBACK}
    return frozenset(own if is_loopback(host) else own | {socket.gethostname().lower()})


@dataclass(frozen=True)
class Guard:
    """Lets through to an application what comes from its own page; the rest is answered here."""

    app: ASGIApp
    token: str
    names: Collection[str]
    cookie: str  # its name
    addresses: bool = False  # whether any address as a number may be asked for, too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is neither HTTP nor the server itself is not answered."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._answer(scope)
        await (answer or self.app)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """What is answered at once; None for what is let through."""
        headers = Headers(scope=scope)
        if not self._is_own(headers.get("host", "")):
            return _forbidden("another name of the server", "the address that was printed")
        if scope["method"] == "GET" and scope["path"] == "/":
            given = QueryParams(scope["query_string"]).get("token")
            if given is not None and self._is_token(given):
                return self._welcome()
        if not self._knows(headers):
            return _forbidden("no token, or another one", "the token of the printed address")
        if scope["method"] != "GET" and headers.get(HEADER) != "1":
            return _forbidden("no header X-Mass3d", "X-Mass3d: 1, as the page sends it")
        return None

    def _is_own(self, asked: str) -> bool:
        name = host_name(asked)
        if name in self.names:
            return True
        return self.addresses and _is_address(name)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _knows(self, headers: Headers) -> bool:
        """Whether the request has the token, as a cookie or as a bearer of it."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return self.cookie in cookies and self._is_token(cookies[self.cookie].value)

    def _welcome(self) -> Response:
        """To the page, and the token into a cookie, so that it leaves the address."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return answer


def host_name(asked: str) -> str:
    """The name in a header Host, without port and brackets: "[::1]:8765" -> "::1"."""
    if asked.startswith("["):
        return asked[1:].partition("]")[0].lower()
    return asked.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    """Whether a name is an address as a number, which no name server has given out."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _forbidden(found: str, expected: str) -> Response:
    fix = "Open the address that mass3d serve has printed."
    return JSONResponse(told(Refused(403, found=found, expected=expected, fix=fix)), 403)
