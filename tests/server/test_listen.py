"""Where a server listens, and what it says of it."""

from __future__ import annotations

import socket

import pytest

from mass3d.errors import ConfigError
from mass3d.server.listen import listener, shown, tell_address


def test_a_port_that_is_taken_and_an_address_that_is_none_are_refused() -> None:
    with listener("127.0.0.1", 0) as made:
        port = made.getsockname()[1]
        assert port > 0
        with pytest.raises(ConfigError, match="cannot be listened at") as caught:
            listener("127.0.0.1", port)
        assert caught.value.setting == "port"
    with pytest.raises(ConfigError, match="cannot be listened at"):
        listener("no.such.name.invalid", 0)
    with pytest.raises(ConfigError, match="cannot be listened at"):
        listener("203.0.113.7", 0)


def test_others_reaching_it_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    tell_address("127.0.0.1", "http://127.0.0.1:1/?token=x")
    assert capsys.readouterr().err == "Open http://127.0.0.1:1/?token=x\n"
    tell_address("0.0.0.0", "http://x:1/?token=x")
    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith("Warning: 0.0.0.0 is reached from other machines.")


def test_an_address_can_be_typed() -> None:
    assert [shown(one) for one in ("127.0.0.1", "::1", "0.0.0.0", "::")] == [
        *("127.0.0.1", "[::1]", socket.gethostname(), socket.gethostname()),
    ]
