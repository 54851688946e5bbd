"""From a mask on one slice to a mask of the volume: SAM2 follows it as if slices were a film.

Each mask goes both ways from its own slice, with a memory of its own: no result depends on which
masks were followed beside it. Three things keep the memory of a run independent of the number of
slices: slices are made when they are looked at, features are kept for one slice only, and what a
model remembers of a slice is dropped once no later slice can ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mass3d.masks.packing import CutMask
from mass3d.masks.sam2.automatic import as_array, enlarged, mask_boxes
from mass3d.masks.sam2.network import Network
from mass3d.masks.sam2.regions import part_at_seed
from mass3d.masks.sam2.slices import Slices

Mask = NDArray[np.bool_]
OBJECT = 1  # every session follows one object


@dataclass(frozen=True, eq=False)
class Film:
    """Slices as the frames of a video, by index; made when asked for and not kept."""

    network: Network
    slices: Slices

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Tensor:
        return self.network.pixels(self.slices.colours(index))


def follow(network: Network, slices: Slices, masks: Sequence[CutMask]) -> Iterator[CutMask]:
    """Masks of one slice, followed through the volume (N, H, W); each keeps its score.

    Only the largest part that touches the seed slice counts. A mask is therefore followed until
    it is empty on a slice: what may reappear behind that slice cannot touch the seed.
    """
    seed = masks[0].box[0].start
    tracks = start_tracks(network, Film(network, slices), seed, masks)
    for direction in (1, -1):
        alive = tracks
        for track in tracks:
            track.forget()
        index = seed + direction
        while alive and 0 <= index < len(slices):
            with torch.inference_mode(), network.precision():
                logits = torch.cat([track.step(network, index, direction) for track in alive])
            sections = as_array(enlarged(logits.float(), slices.shape))
            alive = [
                track
                for track, section in zip(alive, sections, strict=True)
                if track.keep(index, section)
            ]
            index += direction
    for track in tracks:
        yield track.finish(seed)


def start_tracks(network: Network, film: Film, seed: int, masks: Sequence[CutMask]) -> list[Track]:
    """A track for each mask, which the model has seen on its own slice."""
    tracks: list[Track] = []
    for mask in masks:
        session = network.session_type(
            inference_device=network.device,
            inference_state_device=network.device,
            video_storage_device=network.device,
            dtype=torch.float32,
        )
        session.processed_frames = film
        if tracks:  # features of a slice are the same for all
            session.cache = tracks[0].session.cache
        whole = np.zeros(film.slices.shape, bool)
        whole[mask.box[1:]] = mask.mask[0]
        session.obj_id_to_idx(OBJECT)
        session.add_mask_inputs(0, seed, _as_prompt(whole, network))
        session.obj_with_new_inputs = [OBJECT]
        with network.precision():
            network.model(session, frame_idx=seed)
        _drop_pictures(session.output_dict_per_obj[0]["cond_frame_outputs"][seed])
        tracks.append(Track(session, mask.score))
        tracks[-1].keep(seed, whole)
    return tracks


def _as_prompt(mask: Mask, network: Network) -> Tensor:
    """A mask (H, W) as the model takes it, (1, 1, S, S); a thin one stays visible."""
    share = F.interpolate(
        torch.from_numpy(mask)[None, None].float().to(network.device),
        size=(network.size, network.size),
        mode="bilinear",
        antialias=True,
    )
    inside = share >= 0.5
    return (inside if inside.any() else share > 0).float()


@dataclass(eq=False)
class Track:
    """One mask on its way: the model's session and the slices it was found on."""

    session: Any
    score: float
    found: dict[int, Section] = field(default_factory=dict)

    @property
    def _outputs(self) -> dict[int, dict[str, Any]]:
        """What the session remembers of the slices it went through, by slice."""
        outputs: dict[int, dict[str, Any]] = self.session.output_dict_per_obj[0][
            "non_cond_frame_outputs"
        ]
        return outputs

    def forget(self) -> None:
        """Leave only the seed in the session's memory, before a new direction."""
        self._outputs.clear()
        self.session.frames_tracked_per_obj[0].clear()

    def step(self, network: Network, index: int, direction: int) -> Tensor:
        """Logits (1, h, w) of the mask on the next slice."""
        model = network.model
        logits: Tensor = model(self.session, frame_idx=index, reverse=direction < 0).pred_masks
        outputs = self._outputs
        _drop_pictures(outputs[index])
        forget_old(
            outputs,
            index,
            memories=model.num_maskmem - 1,
            pointers=model.config.max_object_pointers_in_encoder - 1,
        )
        return logits[0]

    def keep(self, index: int, section: Mask) -> bool:
        """Remember the mask (H, W) of a slice; false if it is empty."""
        present = bool(section.any())
        if present:
            self.found[index] = Section.of(section)
        return present

    def finish(self, seed: int) -> CutMask:
        """The part of the mask that touches the seed slice."""
        indices = sorted(self.found)
        boxes = np.array([self.found[index].box for index in indices])
        top, left = (int(edge) for edge in boxes[:, [0, 2]].min(axis=0))
        bottom, right = (int(edge) for edge in boxes[:, [1, 3]].max(axis=0))
        whole = np.zeros((len(indices), bottom - top, right - left), bool)
        for index, layer in zip(indices, whole, strict=True):
            self.found[index].draw(layer, top, left)
        part = part_at_seed(whole, indices.index(seed))
        return CutMask.of(part, self.score).moved((indices[0], top, left))


@dataclass(frozen=True, eq=False)
class Section:
    """The mask of one slice, cut to its box and packed to bits."""

    box: tuple[int, int, int, int]  # half-open (top, bottom, left, right)
    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, mask: Mask) -> Section:
        """Pack a mask (H, W) that is not empty."""
        top, bottom, left, right = (int(edge) for edge in mask_boxes(mask[np.newaxis])[0])
        return cls((top, bottom, left, right), np.packbits(mask[top:bottom, left:right]))

    def draw(self, canvas: Mask, top: int, left: int) -> None:
        """Write the mask into a canvas whose first pixel is (top, left) of the slice."""
        first, last, start, stop = self.box
        shape = (last - first, stop - start)
        mask = np.unpackbits(self.bits, count=shape[0] * shape[1]).reshape(shape)
        canvas[first - top : last - top, start - left : stop - left] = mask


def forget_old(
    outputs: dict[int, dict[str, Any]], index: int, *, memories: int, pointers: int
) -> None:
    """Drop what the model can no longer ask for when it goes on from slice `index`.

    It looks at the features of the last `memories` slices and at the pointers of the last
    `pointers`; without this, its memory grows with every slice.
    """
    for other in list(outputs):
        age = abs(index - other)
        if age >= max(memories, pointers):
            del outputs[other]
        elif age >= memories:
            outputs[other].pop("maskmem_features", None)
            outputs[other].pop("maskmem_pos_enc", None)


def _drop_pictures(output: dict[str, Any]) -> None:
    """Drop the masks of a slice, which the model only needs while it makes a memory of them."""
    output.pop("high_res_masks", None)
    output.pop("pred_masks", None)
