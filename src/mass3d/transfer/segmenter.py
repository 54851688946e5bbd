"""What a user does with a trained model: make a task of labelled scans, segment other scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mass3d.errors import ConfigError
from mass3d.execution.ownership import require_own_folder
from mass3d.io.read import volume_of
from mass3d.training import checkpoint
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.expectation import Expectation
from mass3d.transfer.incontext import encode_reference, predict
from mass3d.transfer.made_by import MadeBy
from mass3d.transfer.made_of import made_of
from mass3d.transfer.maps import Agreement, Maps, Share
from mass3d.transfer.nearest import References, embedding, nearest_task
from mass3d.transfer.network_maps import network_encoder
from mass3d.transfer.oneshot.carrying import Found, correct
from mass3d.transfer.oneshot.location import Place, locate
from mass3d.transfer.oneshot.output import labels_of_slabs, labels_on
from mass3d.transfer.oneshot.part import OneShotPart, make_part
from mass3d.transfer.references import (
    ranges_of,
    require_names,
    require_prior_of,
    require_references,
    require_shown,
)
from mass3d.transfer.task_file import Task, require_model, require_scans
from mass3d.transfer.trained import TrainedModel, load_trained, require_matching
from mass3d.transfer.tuning.settings import DEFAULT as TUNING
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import box_around
from mass3d.volume.geometry import Grid
from mass3d.volume.preparation import Prepared, prepare_label, prepare_volume
from mass3d.volume.volume import Volume

Scan = Volume | Path | str | Any  # any: an image of nibabel or SimpleITK
PRIOR_MARGIN_VOX = 10  # around structures that a user has marked


@dataclass(frozen=True)
class Answer:
    """Structures in a scan, and how they were found."""

    labels: NDArray[np.uint16]  # (D, H, W) on the grid of the scan
    method: str  # "alignment", "network", "prior", "finetuned" or "both"
    similarity: tuple[float, ...] = ()  # of the scan to each reference, if it was aligned
    agreement: Mapping[str, float] = field(default_factory=dict)  # between references, in Dice
    references: tuple[str, ...] = ()  # that were asked, where that is not all
    expected_dice: Mapping[str, float] = field(default_factory=dict)  # of what was found
    odd: tuple[str, ...] = ()  # sentences about how it was found

    def filled(self, maps: Maps) -> Maps:
        """Those of the maps that it filled: without references there is none of agreement."""
        return replace(maps, agreement=None) if self.method == "finetuned" else maps

    def told(self) -> dict[str, Any]:
        """What a list of results holds of it."""
        return {
            "method": self.method,
            "similarity": tuple(round(one, 4) for one in self.similarity),
            "agreement": {name: round(one, 4) for name, one in self.agreement.items()},
            "expected_dice": {name: round(one, 4) for name, one in self.expected_dice.items()},
            "references": self.references,
        }


@dataclass(frozen=True)
class Segmenter:
    """A trained model at work on volumes of any grid; `mass3d.load(run)` makes one."""

    trained: TrainedModel

    @classmethod
    def load(cls, run: Path | str, *, device: str = "auto") -> Segmenter:
        """Load a run folder, a weights file or the published weights of MASS.

        Raises `ModelError` when it cannot be trusted.
        """
        return cls(load_trained(Path(run), device=device))

    @property
    def _whole(self) -> nn.Module:
        """All that weights are written of."""
        return self.trained.net

    def save(self, run: Path | str) -> Path:
        """Write the model as a run folder of its own, which is loaded like any other.

        Tasks that were made with it fit the new folder as well. Returns the file of weights.
        Raises `ConfigError` for a folder that holds anything, `OutputError` where nothing can be
        written.
        """
        require_own_folder(Path(run), "save")
        return self.write(Path(run))

    def write(self, folder: Path) -> Path:
        """Write the weights into a folder that is known to be free for them; returns the file."""
        path = folder / WEIGHTS
        checkpoint.save(path, self._whole.state_dict(), kind="weights", facts=self.trained.facts)
        return path

    def task(
        self,
        images: Sequence[Scan],
        labels: Sequence[Scan],
        structures: dict[str, int],
        *,
        references: Sequence[str] = (),
        tuning: TuningConfig | None = TUNING,
    ) -> Task:
        """Encode R labelled scans as a task of the S `structures` (name -> label value).

        Every label lies on the grid of its image. `references` name the scans. `tuning`: how a
        head is tuned on each of them, some seconds; None for none. Raises `DataError` for a scan
        that cannot be read or prepared, a label on another grid, and a structure that is in none
        of the scans; `ConfigError` for wrong values of structures and for names of some references
        only; `ModelError` for a network that
        never learned to match. A structure may be absent from some scans; `Task.present` tells
        from which.
        """
        require_matching(self.trained)
        given = images, labels
        require_names(references, len(images))
        images, labels = require_references(images, labels, structures)
        files = made_of(*given)  # before the seconds of tuning, in which a file may change
        values = list(structures.values())
        names = tuple(references) or tuple(f"reference {i}" for i in range(len(images)))
        scans = [self._prepare(image) for image in images]
        shown = [prepare_label(label, scan.grid) for label, scan in zip(labels, scans, strict=True)]
        encoded = tuple(
            replace(
                encode_reference(self.trained, scan, label, values, name=name),
                embedding=embedding(self.trained, image, scan),
            )
            for image, scan, label, name in zip(images, scans, shown, names, strict=True)
        )
        # before the seconds of tuning
        require_shown(torch.stack([one.present for one in encoded]), structures, names)
        wanted = self._encoder() if tuning is not None and tuning.network else None
        return Task(
            encoded,
            structures,
            model=self.trained.fingerprint,
            oneshot=make_part(scans, shown, values, tuning, encoder=wanted),
            ranges=ranges_of(images, labels, structures, [scan.modality for scan in scans]),
            made_by=MadeBy.of(self.trained.facts),
        ).with_files(files)

    def segment(self, scan: Scan, task: Task | None = None, *, overlap: float = 0.5) -> Volume:
        """Label map of the structures of `task`, on the grid of the scan: uint16 (D, H, W).

        Its `save` and `to_nibabel` give it in the axis order of the scan's file. A finetuned model
        knows its structures and needs no task; of one that sees several channels `scan` is a list
        of one for each, in order. Raises as `answer` does, which also says how they were found;
        `DataError` for a scan that cannot be read.
        """
        several = scan if isinstance(scan, list | tuple) else [scan]
        volumes = tuple(map(volume_of, several))
        answer = self.answer(volumes, task, overlap=overlap)
        return volumes[0].with_voxels(answer.labels)

    def answer(
        self,
        volume: Volume | Sequence[Volume],
        task: Task | None = None,
        *,
        overlap: float = 0.5,
        alignment: bool = True,
        prior: Volume | None = None,
        maps: Maps | None = None,
        references: References = "all",
    ) -> Answer:
        """The structures of `task` in a volume.

        The references are aligned to it, and what their tuned heads make of the carried labels
        votes. Where no alignment is believed, or with `alignment` off, the network alone answers
        in windows that share `overlap`. A `prior`, a label map on the grid of the volume, takes
        the place of what is carried over. maps: filled, but for the agreement where there is a
        prior. references: how many are asked, the nearest to this volume, or all. Raises
        `DataError` for a scan that cannot be prepared and a prior of other values than the task's,
        `ModelError` for a task of another model,
        `ConfigError` for none, and for several volumes.
        """
        volume, task = _only(volume), _required(task)
        require_model("the task", task, self.trained)
        scan = self._prepare(volume)
        asked = nearest_task(task, references, self.trained, volume, scan)
        found = self._of_task(
            volume,
            scan,
            asked,
            overlap=overlap,
            alignment=alignment,
            prior=prior,
            maps=maps or Maps(),
        )
        return found if asked is task else replace(found, references=asked.reference_names)

    def _of_task(
        self,
        volume: Volume,
        scan: Prepared,
        task: Task,
        *,
        overlap: float,
        alignment: bool,
        prior: Volume | None,
        maps: Maps,
    ) -> Answer:
        """What all references of a task say."""
        part = task.oneshot
        if prior is not None:
            return self._from_prior(volume, scan, task, prior=prior, shares=maps.probabilities)
        if part is not None and alignment:
            image = torch.from_numpy(scan.image)
            encoder = self.encoder_of(part)
            found = part.find(image, encoder, modality=scan.modality)
            if found.voting.any():
                return _of_references(volume.grid, found, scan.grid, task, maps)
        return self._by_network(volume, scan, task, overlap=overlap, maps=maps)

    def locate(self, volume: Volume, task: Task) -> tuple[Prepared, list[Place | None]]:
        """Where the structures of a task are: boxes in the prepared scan, which is given too.

        Raises as `answer` does; a task without labelled scans has no places.
        """
        require_model("the task", task, self.trained)
        scan = self._prepare(volume)
        if task.oneshot is None:
            return scan, [None] * len(task.structures)
        part = task.oneshot
        return scan, locate(part.scans, torch.from_numpy(scan.image), part.config)

    def _from_prior(
        self,
        volume: Volume,
        scan: Prepared,
        task: Task,
        *,
        prior: Volume,
        shares: Sequence[Share],
    ) -> Answer:
        """What the heads of all references make of a prior."""
        part = require_scans("the task", task)
        label = prepare_label(prior, scan.grid).astype(np.int64)
        values = list(task.structures.values())
        masks = torch.stack([torch.from_numpy(label == value) for value in values])
        box = box_around(masks.any(0), PRIOR_MARGIN_VOX)
        if box is None:
            require_prior_of(task.structures, prior)
            return Answer(np.zeros(volume.grid.shape, np.uint16), "prior")
        given = masks[(slice(None), *box)].float()
        image, encoder = torch.from_numpy(scan.image), self.encoder_of(part)
        votes: list[Tensor] = [
            correct(one, image, given, box, encoder, modality=scan.modality)
            for one in part.scans
            if one.head is not None and one.modality == scan.modality
        ]
        mean = torch.stack(votes or [given]).mean(0)
        labels = labels_on(volume.grid, mean.numpy(), box, scan.grid, values, shares=shares)
        if votes:
            return Answer(labels, "prior", expected_dice=_expected(mean, task))
        return Answer(labels, "prior", odd=(_only_resampled(part, scan),))

    def _by_network(
        self, volume: Volume, scan: Prepared, task: Task, *, overlap: float, maps: Maps
    ) -> Answer:
        values, expected = list(task.structures.values()), Expectation()

        def labels(
            slabs: Iterable[tuple[int, Tensor]], shares: Sequence[Share] = ()
        ) -> NDArray[np.uint16]:
            found = ((first, slab.numpy()) for first, slab in slabs)
            return labels_of_slabs(volume.grid, found, scan.grid, values, above=0.5, shares=shares)

        slabs = predict(self.trained, scan, task, overlap=overlap)
        answer = labels(expected.counted(slabs), maps.probabilities)
        if maps.agreement is not None:  # one reference after the other, in the memory of one
            agreement = Agreement(answer, values)
            for one in task.references:
                own = replace(task, references=(one,))
                said = labels(predict(self.trained, scan, own, overlap=overlap))
                agreement.count(said, one.present.tolist())
            agreement.fill(maps.agreement)
        return Answer(answer, "network", expected_dice=expected.by_name(task.structures))

    def _encoder(self) -> Encoder:
        return network_encoder(self.trained)

    def encoder_of(self, part: OneShotPart) -> Encoder | None:
        """Maps of the network, if a head of the task looks at them."""
        heads = [one.head for one in part.scans if one.head is not None]
        return self._encoder() if any(head.network for head in heads) else None

    def _prepare(self, volume: Volume) -> Prepared:
        return prepare_volume(volume, self.trained.preparation)


def _only_resampled(part: OneShotPart, scan: Prepared) -> str:
    """The sentence about a prior that nothing corrects."""
    tuned = sorted({one.modality for one in part.scans if one.head is not None})
    kinds = f"tuned heads for {' and '.join(tuned)} alone" if tuned else "no tuned heads"
    return (
        f"the task has {kinds}, and the scan is {scan.modality}: the prior came back as it was "
        "given, but for the voxels of the model"
    )


def _expected(probabilities: Tensor, task: Task) -> dict[str, float]:
    """Dice that an answer expects of itself, of the structures that it found."""
    expected = Expectation()
    expected.add(probabilities)
    return expected.by_name(task.structures)


def _of_references(grid: Grid, found: Found, old: Grid, task: Task, maps: Maps) -> Answer:
    """What aligned references found, on the grid of the scan; the maps are filled."""
    values = list(task.structures.values())
    votes = found.probabilities
    labels = labels_on(grid, votes.numpy(), found.box, old, values, shares=maps.probabilities)
    fill_agreement(maps, labels, found, values=values, grid=grid, old=old)
    return Answer(
        labels,
        "alignment",
        found.similarity,
        agreement_of(found, task.structures),
        expected_dice=_expected(votes, task),
    )


def fill_agreement(
    maps: Maps,
    labels: NDArray[np.uint16],
    found: Found,
    *,
    values: Sequence[int],
    grid: Grid,
    old: Grid,
) -> None:
    """The map of agreement, if it is asked for: which aligned references say what `labels` say."""
    if maps.agreement is None:
        return
    agreement = Agreement(labels, values)
    for one, voting in zip(found.votes, found.voting, strict=True):
        own = (one * voting[:, None, None, None]).numpy()
        agreement.count(labels_on(grid, own, found.box, old, values), voting.tolist())
    agreement.fill(maps.agreement)


def agreement_of(found: Found, names: Iterable[str]) -> dict[str, float]:
    """Of structures by name, how far aligned references agree, where several vote."""
    pairs = zip(names, found.agreement, strict=True)
    return {name: one for name, one in pairs if one is not None}


def _only(volume: Volume | Sequence[Volume]) -> Volume:
    """The one scan that a pretrained model sees."""
    volumes = (volume,) if isinstance(volume, Volume) else tuple(volume)
    if len(volumes) != 1:
        raise ConfigError(
            "scan",
            found=f"{len(volumes)} scans at once",
            expected="one, as only a model that was finetuned so sees several channels",
            fix="Segment one scan after the other.",
        )
    return volumes[0]


def _required(task: Task | None) -> Task:
    if task is None:
        raise ConfigError(
            "task",
            found="no task for a pretrained model, which knows no structures",
            expected="a task, or a finetuned model",
            fix="Make a task of a labelled scan, or finetune the model with labels.",
            setting="task",
        )
    return task
