"""Check every byte of a store and tell all faults at once.

Checksums tell whether a file is as it was written; the content is then measured anew, so that a
mistake made while writing is found as well as one made by a disk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mass3d.errors import StoreError
from mass3d.store.reader import Store, StoredCase
from mass3d.store.records import read_record, require_content, require_size
from mass3d.store.schema import CASES, IMAGE, PARTS, RECORD, TABLE, case_folder

HALF = float(np.finfo(np.float16).eps)  # relative error of a stored intensity, at most


def check_case(store: Store, case_id: str) -> list[StoreError]:
    """All faults of one case.

    Compares every checksum; then unpacks every array and holds the geometry, the range of
    intensities and the table of masks to what they were made from.
    """
    folder = case_folder(store.path, case_id)
    try:
        record = read_record(folder)
    except StoreError as error:
        return [error]
    faults = []
    for name in PARTS:
        try:
            require_size(folder, record, name)
            require_content(folder, record, name)
        except StoreError as error:
            faults.append(error)
    if faults:
        return faults
    try:
        return list(_content_faults(store, store.case(case_id)))
    except StoreError as error:
        return [error]


def unlisted_cases(store: Store) -> list[StoreError]:
    """A fault for everything among the cases that the index does not list."""
    return [
        StoreError(
            path,
            found="a case that the index does not list",
            expected="listed cases only",
            fix="Run the same mass3d prepare again, or delete it.",
        )
        for path in sorted((store.path / CASES).iterdir())
        if path.name not in store.index.cases
    ]


def _content_faults(store: Store, case: StoredCase) -> Iterator[StoreError]:
    """What does not fit in a case whose checksums do."""
    yield from _record_faults(store, case)
    yield from _image_faults(case)
    yield from _mask_faults(case)


def _record_faults(store: Store, case: StoredCase) -> Iterator[StoreError]:
    record = case.record
    if record.settings != store.index.settings.fingerprint:
        yield _misfit(case, RECORD, "other settings than the store's", "cases of one preparation")
    if record.source != store.index.cases[case.case_id].source:
        yield _misfit(case, RECORD, "another source than in the index", "one source")
    wanted = case.source.grid.resampled((store.spacing_mm,) * 3)
    if case.grid.shape != wanted.shape or not np.allclose(case.grid.affine, wanted.affine):
        yield _misfit(
            case,
            RECORD,
            f"a grid of {_size(case.grid.shape)} voxels that does not cover the scan's box",
            f"{_size(wanted.shape)} voxels of {store.spacing_mm:g} mm in that box",
        )


def _image_faults(case: StoredCase) -> Iterator[StoreError]:
    image, intensity = case.read_image(), case.intensity
    found = float(image.min()), float(image.max())
    low, high = (
        (edge - intensity.mean) / intensity.std for edge in (intensity.low, intensity.high)
    )
    if found[0] < low - HALF * (1 + abs(low)) or found[1] > high + HALF * (1 + abs(high)):
        yield _misfit(
            case,
            IMAGE,
            f"intensities from {found[0]:.4g} to {found[1]:.4g}",
            f"what {RECORD} says they were clipped to, {low:.4g} to {high:.4g}",
        )
    if found[0] == found[1]:
        yield _misfit(case, IMAGE, f"the one intensity {found[0]:.4g}", "an image")


def _mask_faults(case: StoredCase) -> Iterator[StoreError]:
    """Masks that are not what the table says, measured anew from the rank maps."""
    table, masks = case.table, case.masks()
    if not np.isfinite(table.score).all():
        yield _misfit(case, TABLE, "scores that are not finite", "a number for every mask")
    crossing = table.crossing_layers()
    if crossing:
        told = ", ".join(map(str, crossing))
        yield _misfit(case, TABLE, f"masks that cross in layer {told}", "nested or disjoint ones")
        return
    anew = masks.keep(np.arange(len(table))).table
    if len(anew) != len(table):
        twice = len(table) - len(anew)
        yield _misfit(case, TABLE, f"{twice} masks that are told twice", "each mask once")
        return
    for column, what in (("voxels", "size"), ("box", "box"), ("parent", "parent")):
        told, measured = getattr(table, column), getattr(anew, column)
        wrong = (told != measured).reshape(len(table), -1).any(axis=1)
        for number in np.unique(table.layer[wrong]):
            count = int((wrong & (table.layer == number)).sum())
            yield _misfit(
                case,
                TABLE,
                f"{count} masks of layer {number} whose {what} is not that of the rank maps",
                "layers and table that fit",
            )


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _misfit(case: StoredCase, name: str, found: str, expected: str) -> StoreError:
    return StoreError(
        case.folder / name,
        found=found,
        expected=expected,
        fix="Delete the folder of this case and run the same mass3d prepare again.",
    )
