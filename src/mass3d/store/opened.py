"""Many cases, of which only those used last keep files open: memory that does not grow with use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, overload

from mass3d.store.reader import StoredCase

MAX_OPEN: Final = 100  # each has two open files, which systems count, and a table of masks


class OpenedCases(Sequence[StoredCase]):
    """The cases of a cohort by their number, for threads that draw from all of them.

    A case that is asked for is kept with what it has opened until `limit` others were asked for.
    Going through all of them opens nothing.
    """

    def __init__(self, cases: Sequence[StoredCase], limit: int = MAX_OPEN) -> None:
        self._cases, self._limit = tuple(cases), limit
        self._opened: OrderedDict[int, StoredCase] = OrderedDict()
        self._asking = threading.Lock()

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[StoredCase]:
        """Without what they may have opened."""
        return iter(self._cases)

    @overload
    def __getitem__(self, number: int) -> StoredCase: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[StoredCase]: ...
    def __getitem__(self, number: int | slice) -> StoredCase | Sequence[StoredCase]:
        if isinstance(number, slice):
            return OpenedCases(self._cases[number], self._limit)
        with self._asking:
            case = self._opened.pop(number, None) or self._cases[number].unopened()
            self._opened[number] = case
            if len(self._opened) > self._limit:
                self._opened.popitem(last=False)  # closed once no thread reads it any more
        return case
