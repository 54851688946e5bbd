import stat
from pathlib import Path

import pytest

from mass3d.errors import ConfigError
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.trained import load_trained
from mass3d.volume.preparation import PreparationConfig


@pytest.fixture
def run(tmp_path: Path) -> Path:
    facts = {
        "preset": PRESETS["tiny"].plain(),
        "crop_vox": [16, 32, 48],
        "step": 0,
        "preparation": PreparationConfig(spacing_mm=2.5).plain(),
    }
    net = build_network(PRESETS["tiny"], seed=0)
    checkpoint.save(tmp_path / WEIGHTS, net.state_dict(), kind="weights", facts=facts)
    return tmp_path


def test_a_run_tells_its_crop_and_how_scans_are_prepared_for_it(run: Path) -> None:
    trained = load_trained(run, device="cpu")
    assert trained.crop == (16, 32, 48)
    assert trained.preparation.spacing_mm == 2.5
    assert not trained.net.training


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "xla"])
def test_a_device_that_is_not_there_is_a_wrong_setting(run: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        load_trained(run, device=device)


def test_weights_may_be_read_by_others(run: Path) -> None:
    assert (run / WEIGHTS).stat().st_mode & stat.S_IROTH
