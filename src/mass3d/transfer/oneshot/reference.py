"""A labelled scan as a reference: features without intensities, the label's box, a tuned head."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mass3d.alignment.features import ScanFeatures, scan_features, with_fine
from mass3d.transfer.oneshot.settings import DEFAULT, OneShotConfig
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.tuning.tune import TunedHead, tune
from mass3d.transfer.tuning.voxels import Encoder
from mass3d.volume.box import box_around, whole_box, widened

RIM_VOX = 2  # of background around the structures of a label


@dataclass(frozen=True)
class LabelledScan:
    """What is kept of a labelled scan. S structures, in the order of the task."""

    features: ScanFeatures = field(repr=False)
    label: Tensor = field(repr=False)  # (d, h, w) uint8: 0, or the number of the structure from 1
    origin: tuple[int, int, int]  # first voxel of the label
    structures: int  # S; the label need not show all
    head: TunedHead | None = None  # None: what is carried over is the answer
    modality: str = ""  # of the scan; a head is no use for scans of another one

    @property
    def present(self) -> Tensor:
        """(S,) bool: the structures that the label shows."""
        count = torch.bincount(self.label.flatten().long(), minlength=self.structures + 1)
        return count[1:] > 0


def labelled_scan(
    image: Tensor,
    label: Tensor,
    structures: int,
    config: OneShotConfig = DEFAULT,
    *,
    modality: str = "",
) -> LabelledScan:
    """The reference of an image and a label (D, H, W) of numbers from 1; not tuned."""
    inner = box_around(label > 0, RIM_VOX) or whole_box(label.shape)
    outer = widened(inner, config.margin_vox, label.shape)
    coarse = scan_features(image, config.alignment, finest=4)
    features = with_fine(coarse, image, outer, config.alignment)
    # zeros around, so that nothing is carried from beyond the box
    padded = F.pad(label[inner].to(torch.uint8), (1,) * 6)
    z, y, x = (axis.start - 1 for axis in inner)
    return LabelledScan(features, padded, (z, y, x), structures, modality=modality)


def tuned_head(
    image: Tensor,
    label: Tensor,
    structures: int,
    config: TuningConfig,
    *,
    encoder: Encoder | None = None,
) -> TunedHead | None:
    """A head tuned on a labelled scan (D, H, W); None where the label shows nothing."""
    inner = box_around(label > 0, RIM_VOX)
    if inner is None:
        return None
    box = widened(inner, DEFAULT.margin_vox, label.shape)
    return tune(
        image[box].contiguous(), label[box].long().contiguous(), structures, config, encoder
    )
