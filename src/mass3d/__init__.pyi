"""The public face of mass3d, for type checkers and editors.

Written by tools/write_configs.py from the settings of the verbs; the package itself resolves
these names when they are first used.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from mass3d.apps.adapt import AdaptReport
from mass3d.apps.check import CheckReport
from mass3d.apps.curve import CurveReport
from mass3d.apps.demo import DemoReport
from mass3d.apps.embed import EmbedReport
from mass3d.apps.evaluate import EvaluateReport
from mass3d.apps.export import ExportReport
from mass3d.apps.extract import ExtractReport
from mass3d.apps.finetune import FinetuneReport
from mass3d.apps.inspect import InspectReport
from mass3d.apps.locate import LocateReport
from mass3d.apps.masks import MasksReport
from mass3d.apps.merge import MergeReport
from mass3d.apps.prepare import PrepareReport
from mass3d.apps.pretrain import PretrainReport
from mass3d.apps.probe import ProbeReport
from mass3d.apps.segment import SegmentReport
from mass3d.apps.serve import ServeReport
from mass3d.apps.show import ShowReport
from mass3d.apps.task import TaskReport
from mass3d.errors import ConfigError as ConfigError
from mass3d.errors import DataError as DataError
from mass3d.errors import Interrupted as Interrupted
from mass3d.errors import Mass3dError as Mass3dError
from mass3d.errors import ModelError as ModelError
from mass3d.errors import OutputError as OutputError
from mass3d.errors import StoreError as StoreError
from mass3d.io.read import label_of as _read_label
from mass3d.io.read import volume_of as _read
from mass3d.masks.settings import MaskConfig
from mass3d.model.presets import ResEncConfig
from mass3d.store.reader import Store as Store
from mass3d.training.config import FitConfig
from mass3d.transfer.adaptation.settings import AdaptationConfig
from mass3d.transfer.finetuned.segmenter import load_segmenter as _load
from mass3d.transfer.finetuned.settings import FinetuneFitConfig, StoppingConfig
from mass3d.transfer.raw_dataset.settings import RawConfig
from mass3d.transfer.task_file import load_task as load_task
from mass3d.transfer.task_file import save_task as save_task
from mass3d.transfer.tuning.settings import TuningConfig
from mass3d.transfer.validation.settings import ValidationConfig
from mass3d.views.balance import DrawConfig
from mass3d.views.draw import ViewConfig
from mass3d.views.labelled import LabelledViewConfig
from mass3d.volume.volume import Volume as Volume

load = _load
read = _read
read_label = _read_label

__all__ = [
    "ConfigError",
    "DataError",
    "Interrupted",
    "Mass3dError",
    "ModelError",
    "OutputError",
    "Store",
    "StoreError",
    "Volume",
    "adapt",
    "check",
    "curve",
    "demo",
    "embed",
    "evaluate",
    "export",
    "extract",
    "finetune",
    "inspect",
    "load",
    "load_task",
    "locate",
    "measure_masks",
    "merge",
    "prepare",
    "pretrain",
    "probe",
    "read",
    "read_label",
    "save_task",
    "segment",
    "serve",
    "show",
    "task",
]
__version__: str

def prepare(
    *,
    inputs: Sequence[str | Path],
    output: str | Path,
    spacing_mm: float | Literal["auto"] = ...,
    modality: Literal["ct", "mr", "pet"] | Literal["auto"] = ...,
    ct_clip_hu: Sequence[float] = ...,
    percentiles: Sequence[float] = ...,
    statistics: Literal["body", "box"] = ...,
    masks: MaskConfig | Mapping[str, object] = ...,
    label_maps: bool = ...,
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> PrepareReport:
    """Prepare every scan; one that fails becomes a fault and the others go on.

    Killed at any moment, the same call goes on where it was and ends with the same bytes. Scans
    of earlier calls with the same settings stay in the store, also when they can no longer be
    read. Raises `StoreError` when the folder holds something else or cases of other settings,
    `DataError` when there is no scan.
    """

def pretrain(
    *,
    store: str | Path | Sequence[str | Path],
    output: str | Path,
    preset: Literal["tiny", "small", "tokens", "base", "resenc-m", "resenc-l"] = ...,
    objective: Literal["masks", "autoencoder", "contrastive", "correspondence"] = ...,
    channels: Sequence[int] | None = ...,
    resenc: ResEncConfig | Mapping[str, object] = ...,
    seed: int = ...,
    resume: bool = ...,
    device: str = ...,
    workers: int | None = ...,
    fit: FitConfig | Mapping[str, object] = ...,
    views: ViewConfig | Mapping[str, object] = ...,
    draws: DrawConfig | Mapping[str, object] = ...,
    validation: ValidationConfig | Mapping[str, object] = ...,
    tensorboard: bool = ...,
) -> PretrainReport:
    """Pretrain, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Processes that
    torchrun or srun started share the work. Raises `StoreError` for a bad store, `ConfigError` for
    impossible settings and when the folder holds another run.
    """

def task(
    *,
    images: Sequence[str | Path],
    labels: Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    structures: Mapping[str, int] | None = ...,
    colours: Mapping[str, str] | None = ...,
    tune: bool = ...,
    tuning: TuningConfig | Mapping[str, object] = ...,
    license: str | None = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> TaskReport:
    """Encode the references. Raises `DataError` when a structure is in none of them."""

def merge(
    *,
    tasks: Sequence[str | Path],
    output: str | Path,
) -> MergeReport:
    """Merge tasks: their structures, and of equally named ones the references.

    Values that two structures share are renumbered. Raises `ModelError` for tasks of different
    models or settings, adapted tasks, and the same one or the same scan of a structure twice.
    """

def adapt(
    *,
    inputs: Sequence[str | Path],
    task: str | Path,
    output: str | Path,
    model: str | Path | None = ...,
    adaptation: AdaptationConfig | Mapping[str, object] = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> AdaptReport:
    """Adapt a task; a structure for which it does not pay is found as before.

    A run that was stopped goes on with the next scan and ends with the same bytes. Raises
    `DataError` where the scan of a reference is missing, or there is too little to learn from,
    `ModelError` when task and model do not fit.
    """

def finetune(
    *,
    images: Sequence[str | Path],
    label_maps: Sequence[str | Path] = ...,
    model: str | Path,
    output: str | Path,
    labels: int | str = ...,
    validation: int | None = ...,
    unlabelled: Sequence[str | Path] = ...,
    start: Literal["pretrained", "scratch"] = ...,
    learn: Literal["full", "decoder", "head"] = ...,
    trunk_share: float = ...,
    resume: bool = ...,
    stopping: StoppingConfig | Mapping[str, object] = ...,
    structures: Mapping[str, int | Sequence[int]] | None = ...,
    partial: bool = ...,
    channels: Sequence[str] = ...,
    seed: int = ...,
    device: str = ...,
    fit: FinetuneFitConfig | Mapping[str, object] = ...,
    views: LabelledViewConfig | Mapping[str, object] = ...,
) -> FinetuneReport:
    """Finetune, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Raises
    `DataError` for a bad scan or label, `ModelError` for a bad model, `ConfigError` for impossible
    settings and when the folder holds another run.
    """

def curve(
    *,
    dataset: str | Path,
    model: str | Path,
    output: str | Path,
    labels: Sequence[int | str] = ...,
    draws: int = ...,
    against: Sequence[str] = ...,
    most_references: int = ...,
    held_out: int | None = ...,
    structures: Mapping[str, int | Sequence[int]] | None = ...,
    partial: bool = ...,
    channels: Sequence[str] = ...,
    seed: int = ...,
    device: str = ...,
    fit: FinetuneFitConfig | Mapping[str, object] = ...,
    views: LabelledViewConfig | Mapping[str, object] = ...,
) -> CurveReport:
    """Finetune and score every point of the curve; what is finished is not done again.

    Raises as `finetune` does, and `ConfigError` for more labels than there are, if asked for.
    """

def segment(
    *,
    inputs: Sequence[str | Path],
    task: str | Path | None = ...,
    output: str | Path,
    model: str | Path | None = ...,
    alignment: bool = ...,
    prior: str | Path | None = ...,
    references: int | Literal["all"] = ...,
    overlap: float = ...,
    probabilities: bool = ...,
    agreement: bool = ...,
    dicom_seg: bool = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> SegmentReport:
    """Segment every scan; a scan that cannot be segmented becomes a fault and the others go on.

    Scans that the same task with the same overlap has already segmented into the same folder are
    not done again, as long as neither scan nor label map has changed. Raises `ModelError` when
    task and model do not fit, `ConfigError` when the folder holds anything but such results.
    """

def locate(
    *,
    inputs: Sequence[str | Path],
    task: str | Path,
    output: str | Path,
    model: str | Path | None = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> LocateReport:
    """Locate the structures in every scan; one that cannot be read becomes a fault.

    Only coarse alignments are made, a fraction of a second for each reference. Raises
    `ModelError` when task and model do not fit, and for a task without labelled scans,
    `ConfigError` for a finetuned model and an output that holds anything but such results.
    """

def embed(
    *,
    inputs: Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    dense: bool = ...,
    untrained: bool = ...,
    overlap: float = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> EmbedReport:
    """Embed every scan; one that cannot be read becomes a fault and the others go on.

    Scans that the same model has already embedded into the same folder are not done again, as long
    as neither scan nor features have changed. Raises `ModelError` for a model that cannot be
    trusted, `ConfigError` when the folder holds anything but such results.
    """

def probe(
    *,
    inputs: Sequence[str | Path],
    labels: str | Path,
    output: str | Path,
    model: str | Path | None = ...,
    targets: Sequence[str] = ...,
    case_column: str = ...,
    patient_column: str | None = ...,
    kinds: Mapping[str, Literal["classes", "number"]] | None = ...,
    within: str | Path | None = ...,
    structure: str | None = ...,
    folds: int = ...,
    overlap: float = ...,
    seed: int = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> ProbeReport:
    """Predict every target from frozen features, by cross-validation over patients.

    Scans are embedded first, each once however often the command is given. One that cannot be read
    becomes a fault, and the others go on; so does a target that is the same everywhere, or has a
    class with fewer patients than folds. Raises `DataError` for a table of labels that is none, or
    without a target that can be predicted, `ConfigError` for missing columns and settings that
    clash, `ModelError` for a model that cannot be trusted.
    """

def evaluate(
    *,
    predictions: str | Path,
    labels: str | Path,
    output: str | Path,
    seed: int = ...,
    structures: Mapping[str, int | Sequence[int]] | None = ...,
    absent: Literal["skip", "score"] = ...,
    surface: bool = ...,
    tolerance_mm: float | None = ...,
    lesions: bool = ...,
    lesion_overlap: float = ...,
    against: str | Path | None = ...,
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> EvaluateReport:
    """Score every prediction; one that cannot be scored becomes a fault and the others go on.

    Cases whose label has no prediction are listed and are no fault. With other predictions to
    compare with, these are scored, too, and both compared on the cases that both have. Raises
    `ConfigError` when a folder is missing or is given twice, `DataError` when two predictions are
    of one case, dataset.json cannot be read, names contradict, or there is nothing to score.
    """

def inspect(
    *,
    inputs: Sequence[str | Path],
    output: str | Path | None = ...,
    modality: Literal["ct", "mr", "pet"] | Literal["auto"] = ...,
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> InspectReport:
    """Read every scan and its label; all faults are told at once.

    Raises `DataError` for a bad path or a folder without scans.
    """

def measure_masks(
    *,
    store: str | Path,
    masks: MaskConfig | Mapping[str, object] | None = ...,
    add: bool = ...,
    labels: str | Path | None = ...,
    output: str | Path | None = ...,
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> MasksReport:
    """Measure the masks of every case, after proposing new ones where that is asked for.

    Killed at any moment, the same call goes on where it was. A case without any new mask becomes
    a fault and leaves the store's index until a later call finds masks in it. Raises `ConfigError`
    when an engine lacks what it needs, `StoreError` when the store cannot be trusted, or no case
    has new masks; the store is then what it was.
    """

def check(
    *,
    store: str | Path | Sequence[str | Path],
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> CheckReport:
    """Check every case of every store: checksums, geometry, intensities, masks.

    All faults are told at once, each with what to do about it. A store that cannot be opened is
    one fault; nothing is changed or written.
    """

def extract(
    *,
    input: str | Path,
    output: str | Path,
    case: Sequence[str] = ...,
    mask: Sequence[int] = ...,
    workers: int | None = ...,
    scheduler: str | None = ...,
) -> ExtractReport:
    """Write image, layers and table of every case, on the grid of the scan it came from.

    A case that is broken becomes a fault and the others go on. Raises `StoreError` when the store
    cannot be opened or lacks a case that is asked for.
    """

def show(
    *,
    paths: Sequence[str | Path],
    as_json: bool = ...,
) -> ShowReport:
    """Say what files and folders of ours are; one that is none of ours becomes a fault."""

def export(
    *,
    model: str | Path,
    output: str | Path,
    title: str = ...,
    license: str = ...,
    data: str = ...,
    to: Literal["hub", "nnunet", "nnunet-raw", "onnx"] = ...,
    plans: str | Path | None = ...,
    configuration: str = ...,
    raw: RawConfig | Mapping[str, object] = ...,
) -> ExportReport:
    """Write weights, which are checked, and a card made from their record; or results as a dataset.

    Raises `ModelError` for a model that cannot be trusted or that nnU-Net cannot take,
    `ConfigError` for a plans file that it does not fit, for a store, out of which cases are
    taken otherwise, and for a folder without results. A case that cannot become part of a dataset
    is a fault, and the others go on.
    """

def serve(
    *,
    model: str | Path,
    inputs: Sequence[str | Path],
    output: str | Path,
    host: str = ...,
    port: int = ...,
    resume: bool = ...,
    links: bool = ...,
    tune: bool = ...,
    label_maps: bool = ...,
    device: str = ...,
) -> ServeReport:
    """Serve the page until a signal ends it; what runs then is interrupted, and kept.

    Raises `ConfigError` where the server is not installed, the port is taken, or the project is
    not a folder of its own; `OutputError` where another server has it.
    """

def demo(
    *,
    output: str | Path = ...,
    data: str | Path | None = ...,
    seed: int = ...,
    cases: int = ...,
    test_cases: int = ...,
    steps: int = ...,
    spacing_mm: float | Literal["auto"] = ...,
) -> DemoReport:
    """Do every step that is not done yet, and write the page.

    Scans that cannot be used become faults; the others go on.
    """
