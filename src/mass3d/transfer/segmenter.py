"""What a user does with a trained model: make a task of labelled scans, segment other scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mass3d.transfer.incontext import encode_reference, predict, to_labels
from mass3d.transfer.task_file import Task, require_model
from mass3d.transfer.trained import TrainedModel, load_trained
from mass3d.volume.preparation import Prepared, prepare_label, prepare_volume
from mass3d.volume.resample import resample_image
from mass3d.volume.volume import Volume


@dataclass(frozen=True)
class Segmenter:
    """A trained model at work on volumes of any grid; `mass3d.load(run)` makes one."""

    trained: TrainedModel

    @classmethod
    def load(cls, run: Path | str, *, device: str = "auto") -> Segmenter:
        """Load a run folder or a weights file. Raises `ModelError` when it cannot be trusted."""
        return cls(load_trained(Path(run), device=device))

    def task(
        self,
        images: Sequence[Volume],
        labels: Sequence[Volume],
        structures: dict[str, int],
        *,
        references: Sequence[str] = (),
    ) -> Task:
        """Encode R labelled scans as a task of the S `structures` (name -> label value).

        Every label lies on the grid of its image. `references` name the scans. Raises `DataError`
        for a scan that cannot be prepared. A structure may be absent from some scans;
        `Task.present` tells from which.
        """
        encoded = []
        for image, label in zip(images, labels, strict=True):
            scan = self._prepare(image)
            shown = prepare_label(label, scan.grid)
            encoded.append(encode_reference(self.trained, scan, shown, list(structures.values())))
        return Task(
            tokens=torch.stack([tokens for tokens, _ in encoded]),
            present=torch.stack([present for _, present in encoded]),
            structures=structures,
            references=tuple(references) or tuple(f"reference {i}" for i in range(len(images))),
            model=self.trained.fingerprint,
            run="",
        )

    def segment(self, volume: Volume, task: Task, *, overlap: float = 0.5) -> NDArray[np.uint16]:
        """Label map (D, H, W) of the structures of `task`, on the grid of `volume`.

        Neighbouring windows share `overlap`. Raises `DataError` for a scan that cannot be
        prepared, `ModelError` for a task of another model.
        """
        require_model("the task", task, self.trained)
        scan = self._prepare(volume)
        probabilities = predict(self.trained, scan, task, overlap=overlap).numpy()
        # one structure at a time, so that the memory does not grow with their number
        fine = (resample_image(channel, scan.grid, volume.grid) for channel in probabilities)
        return to_labels(fine, list(task.structures.values()), shape=volume.grid.shape)

    def _prepare(self, volume: Volume) -> Prepared:
        return prepare_volume(volume, self.trained.preparation)
