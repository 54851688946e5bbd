"""What is answered where something cannot be done: one form for all errors."""

from __future__ import annotations

from typing import Final

from mass3d.errors import Mass3dError, OutputError

UNPROCESSABLE: Final = 422
BROKEN: Final = 500


class Refused(Mass3dError):  # noqa: N818 - what has happened, not what is wrong with us
    """A request that is not fulfilled, with the status of HTTP that says why."""

    def __init__(
        self, status: int, where: str = "request", *, found: str, expected: str, fix: str
    ) -> None:
        super().__init__(where, found=found, expected=expected, fix=fix)
        self.status = status


def status_of(error: Mass3dError) -> int:
    """The status that an error of ours is answered with."""
    if isinstance(error, Refused):
        return error.status
    return BROKEN if isinstance(error, OutputError) else UNPROCESSABLE


def told(error: Mass3dError) -> dict[str, dict[str, str]]:
    """An error as JSON; the message is one sentence made of the other words."""
    where = "" if isinstance(error, Refused) and error.where == "request" else f"{error.where}: "
    message = f"{where}found {error.found}; expected {error.expected}. {error.fix}"
    return {
        "error": {
            "message": message[0].upper() + message[1:] if not where else message,
            "found": error.found,
            "expected": error.expected,
            "fix": error.fix,
        }
    }


def unknown(what: str) -> Refused:
    """There is nothing of this name."""
    return Refused(
        404,
        found=f"no {what}",
        expected="something that the project has",
        fix="Load the page again.",
    )


def conflict(found: str, expected: str, fix: str) -> Refused:
    """The state of the project does not allow it now."""
    return Refused(409, found=found, expected=expected, fix=fix)


def too_large(found: str, most: int) -> Refused:
    """More bytes than are taken."""
    return Refused(
        413, found=found, expected=f"at most {most} bytes", fix="Check that this is the right file."
    )
