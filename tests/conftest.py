"""Fixtures that every room's tests may use."""

import os
import signal
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine is no defect: a property test may take its time
settings.register_profile("mass3d", deadline=None)
settings.load_profile("mass3d")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def hangups() -> Iterator[None]:
    """SIGHUP ends a process, here and in its children, also when the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans: $MASS3D_TEST_DATA, or shared/data beside the checkout."""
    named = os.environ.get("MASS3D_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} is not a folder; set MASS3D_TEST_DATA to one")
    return folder


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder of numbers of the released network, beside that of real scans."""
    named = os.environ.get("MASS3D_TEST_DATA")
    beside = Path(named).resolve().parent if named else ROOT.parent / "shared"
    if not (beside / "parity").is_dir():
        pytest.skip(f"no numbers of the released network: {beside / 'parity'} is not a folder")
    return beside / "parity"


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw folder of four training and two test cases."""
    from mass3d.phantom import write_phantom_cohort  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("cohort")
    return write_phantom_cohort(folder, cases=4, test_cases=2, seed=0)


@pytest.fixture(scope="session")
def store(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared store of the training scans, at a coarse spacing for speed."""
    from mass3d.apps import prepare  # noqa: PLC0415

    output = tmp_path_factory.mktemp("prepared") / "store"
    config = prepare.PrepareConfig(inputs=(cohort / "imagesTr",), output=output, spacing_mm=7.0)
    assert prepare.run(config).ok
    return output


@pytest.fixture(scope="session")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a few steps."""
    from helpers import pretrain_config  # noqa: PLC0415
    from mass3d.apps import pretrain  # noqa: PLC0415

    output = tmp_path_factory.mktemp("runs") / "run"
    assert pretrain.run(pretrain_config(store, output)).ok
    return output


@pytest.fixture(scope="session")
def objective_runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of a few steps of every objective but masks."""
    from helpers import OTHERS, pretrain_config  # noqa: PLC0415
    from mass3d.apps import pretrain  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("objectives")
    for objective in OTHERS:
        config = pretrain_config(store, folder / objective, objective=objective)
        assert pretrain.run(config).ok
    return {objective: folder / objective for objective in OTHERS}


@pytest.fixture(scope="module")
def quick_tasks() -> Iterator[None]:
    """Tasks that verbs make on their way are hardly tuned."""
    from helpers import TUNING  # noqa: PLC0415
    from mass3d.transfer.segmenter import Segmenter  # noqa: PLC0415
    from mass3d.transfer.tuning.settings import TuningConfig  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        quick = TuningConfig.model_validate(TUNING)
        patch.setattr(Segmenter, "task", partialmethod(Segmenter.task, tuning=quick))
        yield
