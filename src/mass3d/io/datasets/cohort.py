"""Which files of a folder are cases, what they are called, and which are none."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from mass3d.errors import DataError
from mass3d.files import read_json, real
from mass3d.io.datasets.layouts import (
    IMAGES,
    SOURCE,
    ImageFile,
    LabelFiles,
    case_ids,
    is_label,
    reason_against,
)
from mass3d.io.datasets.pairing import pair_labels
from mass3d.io.datasets.prepared import NOT_STORED, is_store, made_of, without_scans
from mass3d.io.datasets.series_names import folder_name, name_series
from mass3d.io.dicom.files import DicomFile, dicom_files
from mass3d.io.dicom.gather import Gathered, gather
from mass3d.io.dicom.series import Series
from mass3d.io.formats.parsers import files_of
from mass3d.io.formats.sniff import is_zip
from mass3d.io.left_out import LeftOut
from mass3d.io.names import DETACHED, SUFFIXES, case_id_of, is_image_name, safe_name

NO_IMAGE = "no image by name and content"
PAIRED = "a label of a scan"
MAPS = ("probabilities", "agreement")  # folders beside the label maps of `segment`
RESULT = "a segmentation by mass3d"
A_SCAN = f"a scan ({', '.join(SUFFIXES)}, DICOM, .zip)"
ONE_PER_FOLDER = {NO_IMAGE, PAIRED, RESULT, SOURCE}  # for every folder; others file by file


@dataclass(frozen=True)
class Channel:
    """One of the files that are a case together, whether it is there or not."""

    number: int  # in the names of files
    name: str  # in dataset.json
    path: Path


@dataclass(frozen=True)
class CaseFile:
    """One scan on disk: a file, or a DICOM series of many; or the channels of one case."""

    case_id: str
    path: Path  # of a series: the folder or archive that holds it
    series: Series | None = None
    label: LabelFiles | None = None  # what lies beside it as its label; never opened by `prepare`
    channels: tuple[Channel, ...] = ()  # where they were asked for; the first lies at `path`

    @property
    def scan(self) -> Path | Series:
        """What `read_volume` and `read_grid` take."""
        return self.series or self.path


@dataclass(frozen=True)
class Cohort:
    """The scans of some folders, sorted by case id, and the files that are part of none."""

    cases: tuple[CaseFile, ...]
    left_out: tuple[LeftOut, ...]


def find_cases(paths: Sequence[Path]) -> list[CaseFile]:
    """The cases of `find_cohort`."""
    return list(find_cohort(paths).cases)


def find_cohort(paths: Sequence[Path], *, exclude: Path | None = None) -> Cohort:
    """All scans among files, folders (searched to any depth) and archives; at least one.

    Below a folder the layout of datasets is followed (`layouts`): what is a label there is given
    to its scan and is no case. Files that are named one by one are taken whatever their name, and
    called by it alone. Hidden files and what lies in `exclude` are passed over. DICOM is known
    by its content and grouped into series; a file of it that cannot be read is a case by itself,
    so that it becomes a fault and is not lost. A prepared store stands for the scans that it was
    made of. Raises `DataError` when a path is missing, there is no scan, two scans have one case
    id, or scans of a store are not where they were.
    """
    return _among(paths, exclude, frozenset())


def _among(paths: Sequence[Path], exclude: Path | None, within: Set[Path]) -> Cohort:
    """`find_cohort` of what the stores `within` were made of."""
    stores = [path for path in paths if is_store(path)]
    if not stores:
        return _find(paths, exclude)
    others = [path for path in paths if path not in stores]
    parts = [_stored(store, exclude, within) for store in stores]
    parts += [_find(others, exclude)] if others else []
    cases = by_id(case for part in parts for case in part.cases)
    left_out = [entry for part in parts for entry in part.left_out]
    return _sorted(cases, left_out)


def _stored(store: Path, exclude: Path | None, within: Set[Path]) -> Cohort:
    """The scans that a prepared store was made of. Raises `DataError` unless all are there."""
    if real(store) in within:
        raise without_scans(store, "a prepared store that was made of itself")
    source = made_of(store)
    found = _among(source.inputs, exclude, {*within, real(store)})
    lost = sorted(source.case_ids - {case.case_id for case in found.cases})
    if lost:
        some = f"{', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}"
        raise without_scans(
            store, f"a prepared store with {len(lost)} scans of other calls than the last ({some})"
        )
    cases = {case.case_id: case for case in found.cases if case.case_id in source.case_ids}
    new = [case.path for case in found.cases if case.case_id not in cases]
    return _sorted(cases, [*found.left_out, *(LeftOut(path, NOT_STORED) for path in new)])


def _sorted(cases: Mapping[str, CaseFile], left_out: Iterable[LeftOut]) -> Cohort:
    return Cohort(
        tuple(cases[name] for name in sorted(cases)),
        tuple(sorted(left_out, key=lambda entry: (entry.path, entry.reason))),
    )


def _find(paths: Sequence[Path], exclude: Path | None) -> Cohort:
    """`find_cohort` of files, folders and archives."""
    listing = _list_files(paths, exclude)
    found = gather(listing.dicom)
    roots = [path if path.is_dir() else path.parent for path in paths]
    named = [CaseFile(case_id_of(file), file) for file in listing.named]
    plain = [CaseFile(name, file.path) for file, name in case_ids(listing.scans).items()]
    cases = by_id([*named, *plain, *_dicom_cases(found, roots)])
    pairing = pair_labels(
        [*listing.labels, *_labels_above(paths, listing.labels)],
        {name: ImageFile(case.path, _root_of(case.path, roots)) for name, case in cases.items()},
    )
    unpaired = {file.path: pairing.unpaired.get(file.path, PAIRED) for file in listing.labels}
    left_out = [*_noted(listing, unpaired), *found.left_out]
    if not cases:
        raise _nothing(paths, left_out)
    labelled = {name: replace(one, label=pairing.labels.get(name)) for name, one in cases.items()}
    return _sorted(labelled, left_out)


def label_maps(folder: Path) -> dict[str, Path]:
    """Case -> label map, for all image files below a folder; at least one.

    Every one of them is taken for a label map and called like its file, whatever the layout, but
    for the maps that `segment` writes beside its results. Raises `DataError` when there is none
    or two have one name.
    """
    maps = [folder / name for name in MAPS] if _is_result(folder) else []
    files = [
        file
        for file in _files(folder)
        if is_image_name(file) and not any(file.is_relative_to(place) for place in maps)
    ]
    if not files:
        raise _nothing([folder], [])
    named = by_id(CaseFile(case_id_of(file), file) for file in files)
    return {name: named[name].path for name in sorted(named)}


def find_label(folder: Path, case_id: str) -> Path | None:
    """The label map of a case in a folder, in any readable format. Raises `DataError` for two."""
    found = _called(folder, case_id) if folder.is_dir() else []
    if len(found) > 1:
        raise DataError(
            found[1],
            found=f"a second label map of the case {case_id!r}; the first is {found[0]}",
            expected="one file per case",
            fix="Remove or rename one of them.",
        )
    return found[0] if found else None


def _called(folder: Path, stem: str) -> list[Path]:
    """The image files of a folder with this name, whatever the case of their endings."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(stem)]
    alike = (name for name in sorted(names) if name[len(stem) :].lower() in SUFFIXES)
    return [folder / name for name in alike if (folder / name).exists()]


@dataclass(frozen=True)
class _Listing:
    """All files that were found, by what they are."""

    named: list[Path] = field(default_factory=list)  # given one by one
    scans: list[ImageFile] = field(default_factory=list)
    labels: list[ImageFile] = field(default_factory=list)
    dicom: list[DicomFile] = field(default_factory=list)
    others: list[LeftOut] = field(default_factory=list)
    results: dict[Path, bool] = field(default_factory=dict)  # folder -> whether `segment` wrote it


def _list_files(paths: Sequence[Path], exclude: Path | None) -> _Listing:
    """Every name once: two names that link to one object are two files."""
    listing = _Listing()
    seen: set[Path] = set()
    for path in paths:
        for file in _files(path, exclude):
            if _name_of(file) in seen:
                continue
            seen.add(_name_of(file))
            if file == path:
                _add_named(listing, file)
            elif is_image_name(file):
                _add_image(listing, ImageFile(file, path))
            else:
                _add_other(listing, ImageFile(file, path))
    return listing


def _name_of(file: Path) -> Path:
    """The file's own name in the folder where it really lies; a link is not followed."""
    return real(file.parent) / file.name


def _add_named(listing: _Listing, file: Path) -> None:
    """A file that was given itself: if no DICOM, it is taken for an image, or fails as one."""
    parts = [] if is_image_name(file) else _dicom_parts(file)[0]
    listing.dicom.extend(parts)
    if not parts:
        listing.named.append(file)


def _add_image(listing: _Listing, image: ImageFile) -> None:
    reason = reason_against(image)
    folder = image.path.parent
    if folder not in listing.results:
        around = (folder, folder.parent, folder.parent.parent)  # maps lie up to two below
        inner = (one for one in around if one.is_relative_to(image.root) and one != image.root)
        listing.results[folder] = any(map(_is_result, inner))
    if listing.results[folder]:
        listing.others.append(LeftOut(image.path, RESULT))
    elif is_label(image):
        listing.labels.append(image)
    elif reason:
        listing.others.append(LeftOut(image.path, reason))
    else:
        listing.scans.append(image)


def _is_result(folder: Path) -> bool:
    """Whether a folder holds what `mass3d segment` has found, by the record beside it."""
    try:
        return bool(read_json(folder / "record.json").get("verb") == "segment")
    except (OSError, ValueError, AttributeError):
        return False


def _add_other(listing: _Listing, image: ImageFile) -> None:
    against = reason_against(image)
    parts, reason = ([], against) if against else _dicom_parts(image.path)
    listing.dicom.extend(parts)
    if not parts and reason:
        listing.others.append(LeftOut(image.path, reason))
    elif not parts:
        listing.scans.append(image)


def _labels_above(paths: Sequence[Path], known: Sequence[ImageFile]) -> list[ImageFile]:
    """The labels of a folder imagesTr, imagesTs or imagesVal that was given itself."""
    found = []
    for path in paths:
        split = IMAGES.fullmatch(path.absolute().name)
        top = path.absolute().parent
        folder = top / f"labels{split['split'] or ''}" if split else top
        if split and path.is_dir() and folder.is_dir():
            seen = {_name_of(label.path) for label in known}
            files = [file for file in _files(folder) if _name_of(file) not in seen]
            found += [ImageFile(file, top) for file in files if is_image_name(file)]
    return found


def _root_of(path: Path, roots: Sequence[Path]) -> Path:
    """The folder that was searched when something was found."""
    return next((root for root in roots if path.is_relative_to(root)), path.parent)


def _noted(listing: _Listing, labels: Mapping[Path, str]) -> Iterator[LeftOut]:
    """Files that are not scans; those of one plain reason once for every folder."""
    images = (*listing.named, *(file.path for file in (*listing.scans, *listing.labels)))
    headers = (path for path in images if path.name.lower().endswith(DETACHED))
    parts = {_name_of(part) for header in headers for part in files_of(header)}
    others = [entry for entry in listing.others if _name_of(entry.path) not in parts]
    every = [*others, *(LeftOut(path, reason) for path, reason in labels.items())]
    alike: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for entry in every:
        if entry.reason in ONE_PER_FOLDER:
            alike[entry.path.parent, entry.reason].append(entry.path)
        else:
            yield entry
    for (_, reason), files in alike.items():
        yield LeftOut(min(files), reason, len(files))


def _dicom_parts(file: Path) -> tuple[list[DicomFile], str]:
    """What is DICOM in a file; else why there is nothing, or no reason for a broken archive."""
    try:
        parts = dicom_files(file)
    except DataError:
        return [], ""  # it may hold scans: left to fail when it is read
    except OSError as error:
        return [], f"a file that cannot be read ({error.strerror})"
    return parts, "an archive without DICOM" if is_zip(file) else NO_IMAGE


def _dicom_cases(found: Gathered, roots: Sequence[Path]) -> list[CaseFile]:
    """A case for every series, and one for the files of each fault."""
    named = name_series(found.series, roots)
    cases = [CaseFile(case_id, one.path, one) for case_id, one in named.items()]
    for broken in found.broken:
        file = broken.file
        folder = folder_name(file.path if file.member else file.path.parent, roots)
        name = f"{folder}_{safe_name(file.shown.name)}"
        cases.append(CaseFile(name, file.path))
    return cases


def by_id(cases: Iterable[CaseFile]) -> dict[str, CaseFile]:
    """Cases by their ids. Raises `DataError` when two scans have one."""
    found: dict[str, CaseFile] = {}
    for case in cases:
        first = found.setdefault(case.case_id, case)
        if first is not case:
            apart = first.path.parent != case.path.parent
            above = ", or give the folder above both as one input: then ids name the folders"
            raise DataError(
                case.path,
                found=f"a second scan of the case {case.case_id!r}; the first is {first.path}",
                expected="one file per case",
                fix=f"Rename one of them{above if apart else ''}.",
            )
    return found


def _files(path: Path, exclude: Path | None = None) -> list[Path]:
    """All files below a folder that are not hidden, through links too; or the file itself."""
    if path.is_dir():
        return sorted(_walk(path, real(exclude) if exclude else None))
    require_there(path, f"{A_SCAN} or a folder of scans")
    return [path]


def require_there(path: Path, expected: str) -> None:
    """Raise `DataError` where there is nothing at a path; expected: what should be."""
    if not path.exists():
        raise DataError(
            path, found="no such file or folder", expected=expected, fix="Check the path."
        )


def _walk(top: Path, exclude: Path | None) -> Iterator[Path]:
    """Links to folders are followed last, so that what they lead to goes by its own name."""
    seen = {exclude}
    waiting = [top]
    while waiting:
        for name, folders, files in os.walk(waiting.pop(0), onerror=_unreadable):
            folder = Path(name)
            place = real(folder)
            if place in seen:
                folders.clear()
                continue
            seen.add(place)
            folders[:] = sorted(found for found in folders if not found.startswith("."))
            waiting += (folder / found for found in folders if (folder / found).is_symlink())
            yield from (folder / found for found in files if not found.startswith("."))


def _unreadable(error: OSError) -> None:
    raise DataError(
        error.filename,
        found=f"a folder that cannot be read ({error.strerror})",
        expected="a folder of scans",
        fix="Check its permissions.",
    ) from error


def _nothing(paths: Sequence[Path], left_out: Sequence[LeftOut]) -> DataError:
    """The error for folders without scans, which says what the files in them are, or the folder."""
    store = next(filter(is_store, paths), None)
    if store is not None:  # in place of label maps, which it does not stand for
        return without_scans(store, "a prepared store, which holds no files of scans")
    notes = [entry for entry in left_out if entry.reason != NO_IMAGE]
    reasons = ", ".join(f"{entry.path.name}: {entry.reason}" for entry in notes[:5])
    return DataError(
        ", ".join(str(path) for path in paths) or "inputs",
        found=f"no scan but {reasons}" if reasons else "no scan",
        expected=f"files named {', '.join(SUFFIXES)}, DICOM series, or archives (.zip) of them",
        fix="Check the path; files that are named one by one are taken whatever their name.",
    )
