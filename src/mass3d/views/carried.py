"""Masks brought from one scan to another, and guesses of where a mask is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mass3d.masks.table import MaskTable
from mass3d.store.reader import StoredCase
from mass3d.views.correspondence import Points
from mass3d.views.render import count_visible, render_masks
from mass3d.views.warp import Crop
from mass3d.volume.box import box_at

CELL = 2  # voxels, along every axis
SNAP = 0.5  # IoU from which a carried mask and one of the query's own are taken for the same
MAX_SHARE = 0.4  # of a view that a mask may fill
NODES_CELLS = 4  # between the nodes of a smooth error
WHOLE_ERROR, SMOOTH_ERROR = 0.3, 1.5  # an error as a whole, and at the nodes; times its size

Rows = NDArray[np.int64]


class Shown(NamedTuple):
    """The masks of a scan in one view."""

    ranks: Tensor  # (1, L, D, H, W)
    table: MaskTable

    def voxels(self) -> NDArray[np.int64]:
        """(N,) voxels of every mask."""
        return count_visible(self.ranks, [self.table])[0]

    def shares(self, rows: Rows, num_masks: int) -> Tensor:
        """How much of each cell the masks cover, (K, d, h, w); those beyond the rows are empty."""
        masks = render_masks(self.ranks, [self.table], [rows], num_masks)
        return F.avg_pool3d(masks[0].float(), CELL)

    @property
    def max_voxels(self) -> float:
        """Of a mask that teaches something."""
        return MAX_SHARE * self.ranks[0, 0].numel()


def carry_masks(case: StoredCase, places: Points, crop: Crop) -> Shown:
    """The masks of a scan where a query's cells lie in it, `places` (N, 3), on the CPU."""
    d, h, w = (n // CELL for n in crop)
    coarse = torch.from_numpy(places.T.reshape(1, 3, d, h, w).astype(np.float32))
    fine = F.interpolate(coarse, size=crop, mode="trilinear", align_corners=False)[0]
    at = fine.round().long().reshape(3, -1)
    size = torch.tensor(case.shape)[:, None]
    outside = ((at < 0) | (at >= size)).any(0)
    at = torch.minimum(at.clamp_min(0), size - 1)
    first, last = at.amin(1), at.amax(1)
    box = box_at(first.tolist(), (last - first + 1).tolist())
    ranks = torch.from_numpy(case.read_layers(box).astype(np.int32))
    z, y, x = at - first[:, None]
    found = ranks[:, z, y, x]
    found[:, outside] = 0
    return Shown(found.reshape(1, -1, *crop), case.table)


def snap(
    carried: Shown, rows: Rows, query: Shown, *, num_masks: int, min_visible_vox: int
) -> tuple[Rows, Rows]:
    """Carried masks that meet a mask of the query's own, and which: rows of both tables.

    At most `num_masks` pairs whose IoU is above one half, in the order of `rows`. Each of the
    query's masks may be met more than once. No mask is made but those of `rows`.
    """
    in_query = query.voxels()
    allowed = (in_query >= min_visible_vox) & (in_query < query.max_voxels)
    own_layers = query.ranks[0].flatten(1).cpu().numpy()
    layers = carried.ranks[0].flatten(1).cpu().numpy()
    theirs, ours = [], []
    for row in rows if allowed.any() else ():
        mask = carried.table.inside(row, layers[int(carried.table.layer[row])])
        shared = query.table.count(own_layers[:, mask])
        iou = np.where(allowed, shared / np.maximum(in_query + mask.sum() - shared, 1), 0)
        best = int(iou.argmax())
        if iou[best] > SNAP:
            theirs.append(row)
            ours.append(best)
        if len(theirs) == num_masks:
            break
    return np.array(theirs, np.int64), np.array(ours, np.int64)


def displace(masks: Tensor, std_vox: float, rng: np.random.Generator) -> Tensor:
    """Masks (K, d, h, w) moved as an alignment is wrong: smoothly, and a little as a whole."""
    shape = masks.shape[1:]
    nodes = [max(2, -(-n // NODES_CELLS) + 1) for n in shape]
    noise = torch.from_numpy(rng.standard_normal((1, 3, *nodes)).astype(np.float32))
    whole = torch.from_numpy(rng.standard_normal((3, 1, 1, 1)).astype(np.float32))
    smooth = F.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0]
    moved = (SMOOTH_ERROR * smooth + WHOLE_ERROR * whole) * (std_vox / CELL)
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij")) + moved
    size = torch.tensor(shape, dtype=torch.float32).view(3, 1, 1, 1)
    grid = ((2 * at + 1) / size - 1).flip(0).permute(1, 2, 3, 0).to(masks.device)
    return F.grid_sample(masks[None], grid[None], align_corners=False)[0]
