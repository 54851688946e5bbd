"""What the attacks are made on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mass3d.apps import task


@pytest.fixture(scope="session")
def task_file(cohort: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of one labelled scan, without tuning."""
    path = tmp_path_factory.mktemp("attacked") / "organs.task"
    config = task.TaskConfig(
        images=(cohort / "imagesTr" / "ct_000_0000.nii.gz",),
        labels=(cohort / "labelsTr" / "ct_000.nii.gz",),
        model=trained,
        output=path,
        tune=False,
        device="cpu",
    )
    assert task.run(config).ok
    return path
