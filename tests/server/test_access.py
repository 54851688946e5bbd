"""Who is answered."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mass3d.server.access import Guard, host_name, is_loopback, names_of
from mass3d.server.routes import application
from mass3d.server.site import Site
from servers import ALLOWED, COOKIE, TOKEN, client_of

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
    "font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def test_the_printed_address_gives_a_cookie_and_leads_to_the_page(site: Site) -> None:
    browser = client_of(site, accept="*/*")
    answer = browser.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={TOKEN};")
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    page = browser.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert TOKEN not in page.text


@pytest.mark.parametrize("path", ["/", "/api/project", "/api/cases", "/assets/x.js", "/api/no"])
def test_every_answer_has_the_policy_even_a_refusal(site: Site, path: str) -> None:
    for browser in (client_of(site), client_of(site, accept="*/*")):
        answer = browser.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        if path.startswith("/api"):
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "*/*"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer ü"},
        {"Cookie": f"{COOKIE}=wrong"},
        {"Cookie": f"other={TOKEN}"},
        {"Cookie": '"; ,=\x01'},
    ],
)
def test_without_the_token_nothing_is_said(site: Site, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client_of(site, accept="*/*").get("/api/project", headers=raw)
    assert answer.status_code == 403
    assert answer.json()["error"]["fix"] == "Open the address that mass3d serve has printed."
    assert "structures" not in answer.text
    assert client_of(site, accept="*/*").get("/?token=wrong").status_code == 403


def test_a_bearer_or_a_cookie_of_the_token_is_let_in(site: Site) -> None:
    bearer = {"authorization": f"bearer  {TOKEN}"}
    cookie = {"Cookie": f"x=1; {COOKIE}={TOKEN}"}
    for headers in (bearer, cookie):
        assert client_of(site, **headers).get("/api/project").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]", "1.2.3.4"])
def test_a_name_that_leads_here_by_another_ones_will_is_refused(site: Site, host: str) -> None:
    answer = client_of(site).get("/api/project", headers={"Host": host})
    assert answer.status_code == 403
    assert "another name" in answer.json()["error"]["found"]


@pytest.mark.parametrize(
    "host", ["localhost:99", "LOCALHOST", "[::1]:1", "127.0.0.1", "localhost."]
)
def test_the_names_of_this_machine_are_its_own_at_any_port(site: Site, host: str) -> None:
    assert client_of(site).get("/api/project", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_what_is_no_get_wants_a_header_that_other_pages_cannot_send(
    site: Site, method: str
) -> None:
    browser = client_of(site, Authorization=ALLOWED["Authorization"])
    answer = browser.request(method, "/api/structures")
    assert answer.status_code == 403
    if method != "HEAD":
        assert "X-Mass3d" in answer.json()["error"]["found"]
    assert browser.request(method, "/", headers={"X-Mass3d": "2"}).status_code == 403


def test_what_is_no_http_is_not_answered(site: Site) -> None:
    guard = Guard(application(site), TOKEN, names_of("localhost"), COOKIE)
    said: list[object] = []

    async def never() -> dict[str, object]:
        raise AssertionError("nothing is asked")

    async def say(message: object) -> None:
        said.append(message)

    asyncio.run(guard({"type": "websocket", "path": "/api/jobs", "headers": []}, never, say))
    assert said == []


def test_a_server_for_other_machines_takes_its_addresses_and_its_name(site: Site) -> None:
    guard = Guard(application(site), TOKEN, names_of("0.0.0.0"), COOKIE, addresses=True)
    browser = TestClient(guard, headers=ALLOWED)
    for host, status in (
        ("192.168.1.7:8765", 200),
        ("[fe80::1]:8765", 200),
        (f"{socket.gethostname()}:8765", 200),
        ("evil.example:8765", 403),
    ):
        assert browser.get("/api/project", headers={"Host": host}).status_code == status, host


def test_names_are_told_from_ports() -> None:
    assert [host_name(one) for one in ("a:1", "A.b", "[::1]:5", "[::1]", "")] == [
        *("a", "a.b", "::1", "::1", ""),
    ]
    assert is_loopback("127.0.0.9")
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "example.org")))
    assert socket.gethostname().lower() not in names_of("127.0.0.1") - {"localhost"}


def test_the_page_folder_is_the_one_of_the_package() -> None:
    from mass3d.server.routes import PAGE  # noqa: PLC0415

    assert (PAGE / "index.html").is_file()
    assert Path(__file__).parents[2] / "src" in PAGE.parents
