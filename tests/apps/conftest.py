"""One small phantom cohort, prepared and pretrained once for all tests of the verbs."""

from pathlib import Path

import pytest

from helpers import pretrain_config
from mass3d.apps import prepare, pretrain
from mass3d.io.phantom import write_phantom_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw folder of four training and two test cases."""
    folder = tmp_path_factory.mktemp("cohort")
    return write_phantom_cohort(folder, cases=4, test_cases=2, seed=0)


@pytest.fixture(scope="session")
def store(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared store of the training scans, at a coarse spacing for speed."""
    output = tmp_path_factory.mktemp("prepared") / "store"
    config = prepare.PrepareConfig(inputs=(cohort / "imagesTr",), output=output, spacing_mm=7.0)
    assert prepare.run(config).ok
    return output


@pytest.fixture(scope="session")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a few steps."""
    output = tmp_path_factory.mktemp("runs") / "run"
    assert pretrain.run(pretrain_config(store, output)).ok
    return output
