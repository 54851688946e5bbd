"""What the tests of views share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.store.reader import Store, StoredCase


@pytest.fixture(scope="session")
def cases(store: Path) -> list[StoredCase]:
    """Every case of the prepared store."""
    opened = Store.open(store)
    return [opened.case(case_id) for case_id in opened.case_ids]
