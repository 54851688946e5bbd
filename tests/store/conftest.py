from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mass3d.files import file_hash, read_json, write_json
from mass3d.masks.layers import MaskSet
from mass3d.masks.packing import encode
from mass3d.masks.settings import MaskConfig
from mass3d.store.schema import IndexRecord, Source, StoreSettings
from mass3d.store.writer import begin, collect_index, open_for_writing, write_case, write_index
from mass3d.volume.intensity import Intensity
from mass3d.volume.preparation import PreparationConfig, Prepared
from mass3d.volume.volume import Volume

SHAPE = (13, 70, 21)


@pytest.fixture
def settings() -> StoreSettings:
    return StoreSettings(preparation=PreparationConfig(spacing_mm=1.5), masks=MaskConfig())


@pytest.fixture
def prepared() -> Prepared:
    rng = np.random.default_rng(3)
    voxels = np.clip(rng.standard_normal(SHAPE), -3, 3)  # as `intensity` says
    volume = Volume.from_array(voxels, spacing_mm=(1.5, 1.5, 1.5))
    return Prepared(
        image=volume.voxels.astype(np.float32),
        grid=volume.grid,
        source=volume.source,
        modality="mr",
        modality_from="setting",
        intensity=Intensity(low=1.0, high=90.0, mean=40.0, std=13.0),
        repairs=("2 voxels were not finite.",),
    )


@pytest.fixture
def masks() -> MaskSet:
    chosen = []
    for box in (np.s_[1:9, 2:40, 3:20], np.s_[2:5, 5:9, 4:9], np.s_[8:12, 30:60, 10:15]):
        mask = np.zeros(SHAPE, bool)
        mask[box] = True
        chosen.append(mask)
    return encode(chosen, scores=[3.0, 2.0, 1.0], engine="test")


@pytest.fixture
def make_store(
    settings: StoreSettings, prepared: Prepared, masks: MaskSet
) -> Callable[[Path], Path]:
    def make(
        root: Path, ids: tuple[str, ...] = ("a", "b"), *, settings: StoreSettings = settings
    ) -> Path:
        with open_for_writing(root):
            begin(root, settings)
            for case_id in ids:
                source = Source(name=f"{case_id}.nii", sha256="0" * 64)
                write_case(root, case_id, prepared, masks, source=source, settings=settings)
            write_index(root, collect_index(root, settings))
        return root

    return make


@pytest.fixture
def store_path(make_store: Callable[[Path], Path], tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


@pytest.fixture
def reseal() -> Callable[..., None]:
    return _reseal


def _reseal(root: Path, case_id: str = "a", **changes: Any) -> None:
    """Make every checksum fit again after tampering."""
    folder = root / "cases" / case_id
    record = read_json(folder / "case.json") | changes
    for name, part in record["parts"].items():
        part["bytes"], part["sha256"] = (folder / name).stat().st_size, file_hash(folder / name)
    write_json(folder / "case.json", record)
    index = IndexRecord.model_validate(read_json(root / "store.json"))
    cases = dict(index.cases)
    cases[case_id] = cases[case_id].model_copy(
        update={"record_sha256": file_hash(folder / "case.json")}
    )
    write_json(root / "store.json", IndexRecord.make(index.settings, cases, finished=True).plain())
