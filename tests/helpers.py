"""Settings that several test modules share."""

from pathlib import Path

from mass3d.apps.pretrain import PretrainConfig
from mass3d.pretext.task import ObjectiveName
from mass3d.training.fit import FitConfig

STEPS = 4
OTHERS: tuple[ObjectiveName, ...] = ("autoencoder", "contrastive", "correspondence")


def pretrain_config(
    store: Path | tuple[Path, ...], output: Path, **changes: object
) -> PretrainConfig:
    """A run of a few steps on small crops."""
    fit = FitConfig(steps=STEPS, batch_size=2, log_every=1, save_every=2, precision="32-true")
    values = {"store": store, "output": output, "fit": fit, "views": {"crop_vox": (32, 32, 32)}}
    return PretrainConfig.model_validate(values | changes)
