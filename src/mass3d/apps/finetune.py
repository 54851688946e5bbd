"""`mass3d finetune`: train a pretrained network on with labels; it then segments without a task."""

from __future__ import annotations

from mass3d.execution.ownership import require_own_folder
from mass3d.transfer.finetuned.settings import FinetuneConfig
from mass3d.transfer.finetuned.verb import Finetuned as FinetuneReport
from mass3d.transfer.finetuned.verb import finetune

__all__ = ["FinetuneConfig", "FinetuneReport", "run"]


def run(config: FinetuneConfig) -> FinetuneReport:
    """Finetune, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Raises
    `DataError` for a bad scan or label, `ModelError` for a bad model, `ConfigError` for impossible
    settings and when the folder holds another run.
    """
    require_own_folder(
        config.output,
        "finetune",
        inputs=(*config.images, *config.label_maps, *config.unlabelled, config.model),
    )
    return finetune(config)
