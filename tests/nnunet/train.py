"""Run by the python of nnU-Net: `nnUNetv2_train` with two epochs of a few iterations.

    python train.py DATASET CONFIGURATION FOLD ...

The trainer takes the place of nnU-Net's own, because a search for another name imports networks
that need timm and torchvision.
"""

import torch
from nnunetv2.run.run_training import run_training_entry  # type: ignore[import-not-found]
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer  # type: ignore[import-not-found]


class ShortTrainer(nnUNetTrainer.nnUNetTrainer):  # type: ignore[misc]
    """nnU-Net's own trainer but for how long it takes; it predicts no whole scans at the end."""

    def __init__(  # nnU-Net looks up its own arguments by these names
        self,
        plans: dict[str, object],
        configuration: str,
        fold: int,
        dataset_json: dict[str, object],
        device: torch.device,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2
        self.num_iterations_per_epoch = 6
        self.num_val_iterations_per_epoch = 2

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Not wanted."""


if __name__ == "__main__":
    nnUNetTrainer.nnUNetTrainer = ShortTrainer
    run_training_entry()
