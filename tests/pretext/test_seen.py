from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS
from mass3d.pretext.seen import SeenMask, look, spread
from mass3d.pretext.task import TASKS, Cohort
from mass3d.store.reader import Store
from mass3d.views.draw import ViewConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_every_valid_mask_is_shown_with_what_is_found(
    kind: str, store: Path, tmp_path: Path
) -> None:
    opened = Store.open(store)
    cases = [opened.case(case_id) for case_id in opened.case_ids]
    task = TASKS[kind]
    views = ViewConfig.model_validate({**task.views, "alignments": 4})
    batch = task.batches(Cohort(cases, (32, 32, 32), 2, 0, tmp_path, 1), views)(0, CPU)
    preset = next(preset for preset in PRESETS.values() if preset.kind == kind)
    assert task.show
    shown = task.show(batch)
    pairs = look(build_network(preset, seed=0).eval(), shown)
    assert [len(pair.masks) for pair in pairs] == batch.valid.sum(1).tolist()
    for i, pair in enumerate(pairs):
        assert pair.across == bool(shown.across[i])
        assert np.array_equal(pair.query, batch.query.image[i, 0].numpy())
        sizes = [mask.voxels for mask in pair.masks]
        assert sizes == sorted(sizes)
        true = (shown.query_masks[i] > 0.5).sum((1, 2, 3))[batch.valid[i]].tolist()
        assert sizes == sorted(true)
        assert all(mask.found.shape == mask.query.shape == (32, 32, 32) for mask in pair.masks)


def test_dice_and_choice_of_masks() -> None:
    def mask(voxels: int, found: int) -> SeenMask:
        ones = [np.arange(40).reshape(2, 4, 5) < count for count in (voxels, found)]
        return SeenMask(ones[0], ones[0], ones[1])

    assert mask(10, 5).dice == pytest.approx(10 / 15)
    assert mask(0, 0).dice == 1
    assert mask(0, 3).dice == 0
    masks = [mask(voxels, 0) for voxels in range(11)]
    assert [one.voxels for one in spread(masks, 3)] == [0, 5, 10]
    assert spread(masks[:2], 6) == masks[:2]
