from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mass3d.errors import ConfigError
from mass3d.masks.engines import Found, Scan, identities, propose
from mass3d.masks.hierarchy import engine as hierarchy
from mass3d.masks.hierarchy.settings import HierarchyConfig
from mass3d.masks.settings import MaskConfig
from mass3d.volume.intensity import Intensity
from mass3d.volume.volume import Volume

FEW = HierarchyConfig(mr=HierarchyConfig().mr[:1])


def scan() -> Scan:
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((16, 18, 20)), 2)
    image = (image / image.std()).astype(np.float32)
    volume = Volume.from_array(image, spacing_mm=(2.0, 2.0, 2.0))
    intensity = Intensity(low=0, high=200, mean=100, std=20)
    return Scan(image, volume.grid, 2.0, "mr", intensity)


def blocks() -> list[tuple[str, Volume]]:
    label = np.zeros((16, 18, 20), np.uint16)
    label[2:9, 2:9, 2:9], label[10:14, 10:14, 10:14] = 3, 7
    return [("blocks.nii.gz", Volume.from_array(label, spacing_mm=(2.0, 2.0, 2.0)))]


def no_files() -> list[tuple[str, Volume]]:
    raise AssertionError("files were read that no engine needs")


def run(config: MaskConfig, have: dict[Any, Found] | None = None, **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"wanted": identities(config, files="a"), "files": no_files}
    found = propose(scan(), config, have=have or {}, **(given | options))
    return {str(engine): part for engine, part in found.items()}


def test_an_identity_changes_with_settings_and_files_of_its_engine_only() -> None:
    both = MaskConfig(engines=("hierarchy", "external"))
    first = identities(both, files="x")
    files = identities(both, files="y")
    settings = identities(both.model_copy(update={"hierarchy": FEW}), files="x")
    assert list(first) == ["hierarchy", "external"]
    assert (files["hierarchy"] == first["hierarchy"], files["external"]) != (
        True,
        first["external"],
    )
    assert settings["external"] == first["external"]
    assert settings["hierarchy"] != first["hierarchy"]
    assert identities(MaskConfig(), files="x") == identities(MaskConfig(), files="y")


def test_every_engine_finds_what_it_finds_alone_in_the_order_of_the_settings() -> None:
    both = run(MaskConfig(engines=("external", "hierarchy"), hierarchy=FEW), files=blocks)
    assert list(both) == ["external", "hierarchy"]
    alone = hierarchy.propose(
        scan().image, spacing_mm=2.0, modality="mr", mean=100, std=20, config=FEW
    )
    np.testing.assert_array_equal(both["hierarchy"].masks.ranks, alone.ranks)
    assert both["external"].masks.table.voxels.tolist() == [343, 64]
    assert set(both["external"].masks.table.engine) == {"external"}


def test_what_was_found_with_the_same_identity_is_kept_and_not_found_again() -> None:
    config = MaskConfig(engines=("external", "hierarchy"), hierarchy=FEW)
    first = run(config, files=blocks)
    again = run(config, have=first)  # its files cannot be read
    assert all(again[engine] is first[engine] for engine in config.engines)
    other = run(config.model_copy(update={"hierarchy": HierarchyConfig()}), have=first)
    assert other["external"] is first["external"]
    assert len(other["hierarchy"].masks.ranks) > len(first["hierarchy"].masks.ranks)


def test_sam2_without_weights_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint"):
        identities(MaskConfig(engines=("sam2",)), files="")
