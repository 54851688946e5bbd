"""What gzip files hold, a piece at a time, with what follows their end bounded.

Python's own reader passes over zeros after the end one by one, for hours where a sparse file has
billions of them.
"""

from __future__ import annotations

import zlib
from io import RawIOBase
from typing import Any, BinaryIO, Final

GZIP: Final = b"\x1f\x8b"
CHUNK = 2**18  # packed bytes that are read together


class GunzipStream(RawIOBase):
    """A stream over the members of a gzip file, which may be empty or of any length.

    It ends where no member follows; `rest` then holds the first bytes of what does. Reading raises
    `EOFError` where a member has no end and `zlib.error` where it is broken, its checksum too.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self.packed = packed
        self.decoder: Any = zlib.decompressobj(wbits=31)
        self.pending = b""
        self.rest = b""
        self.ended = False

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as one step of unpacking goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        while len(view) and not self.ended:
            if self.decoder.eof and not self._next_member():
                break
            if not self.pending:
                self.pending = self.packed.read(CHUNK)
                if not self.pending:
                    raise EOFError("it ends before its gzip data do")
            piece = self.decoder.decompress(self.pending, len(view))
            self.pending = self.decoder.unused_data or self.decoder.unconsumed_tail
            if piece:
                view[: len(piece)] = piece
                return len(piece)
        return 0

    def _next_member(self) -> bool:
        """Whether another member follows the end of one."""
        if len(self.pending) < len(GZIP):
            self.pending += self.packed.read(CHUNK)
        if self.pending.startswith(GZIP):
            self.decoder = zlib.decompressobj(wbits=31)
            return True
        self.rest, self.ended = self.pending, True
        return False
