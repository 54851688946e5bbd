"""A server on an address of this machine, until a signal ends it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from mass3d.errors import ConfigError
from mass3d.execution.progress import tell
from mass3d.execution.signals import StopSignal, stop_signals
from mass3d.server.access import Guard, is_loopback, names_of

LOOK_S: Final = 0.1  # between two looks at whether a signal has come
GRACE_S: Final = 3  # for requests that are being answered


class _Server(uvicorn.Server):
    """One that leaves signals to the caller."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are noted already."""
        yield


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one. Raises `ConfigError` where that cannot be."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as on_failure:
            made = on_failure.enter_context(socket.socket(kind, socket.SOCK_STREAM))
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(128)
            on_failure.pop_all()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{host}:{port}",
            found=f"an address that cannot be listened at ({error})",
            expected="a free port of this machine",
            fix="Choose another port.",
            setting="port",
        ) from error
    return made


def serve(app: ASGIApp, made: socket.socket, host: str, *, ready: Callable[[str], None]) -> None:
    """Answer until a signal comes. ready: is told the address with its token."""
    token = secrets.token_urlsafe(32)
    port = made.getsockname()[1]
    near = is_loopback(host)
    guarded = Guard(app, token, names_of(host), f"mass3d_token_{port}", addresses=not near)
    settings = uvicorn.Config(
        guarded,
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(settings)
    with stop_signals() as stop:
        ready(f"http://{shown(host)}:{port}/?token={token}")
        asyncio.run(_until_stopped(server, made, stop))


async def _until_stopped(server: uvicorn.Server, made: socket.socket, stop: StopSignal) -> None:
    serving = asyncio.create_task(server.serve(sockets=[made]))
    while not stop.number and not serving.done():
        await asyncio.sleep(LOOK_S)
    server.should_exit = True
    await serving


def tell_address(host: str, address: str) -> None:
    """Say where the page is, and what it means that others can reach it."""
    tell(f"Open {address}")
    if not is_loopback(host):
        tell(
            f"Warning: {host} is reached from other machines. Whoever has the token can see all "
            "scans and change the project; nothing is encrypted on the way. Where you can, stay "
            "with 127.0.0.1 and use a tunnel (ssh -L)."
        )


def shown(host: str) -> str:
    """An address in the form in which a browser takes it."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
