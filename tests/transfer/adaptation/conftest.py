from __future__ import annotations

import pytest
import torch

from heads import prepared_head, two_structures
from mass3d.transfer.oneshot.part import OneShotPart, make_part


@pytest.fixture(scope="session")
def part() -> OneShotPart:
    """A task of one head with two structures, without a tuned head."""
    return make_part([prepared_head()], [two_structures().numpy()], [1, 2], None)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
