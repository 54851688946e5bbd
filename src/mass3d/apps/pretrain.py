"""`mass3d pretrain`: learn in-context segmentation from prepared stores, without any label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator
from torch import nn

from mass3d.config import Config, Device, Paths, Seed, Workers
from mass3d.device import choose_device
from mass3d.errors import ModelError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.progress import progress
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.files import only_writer
from mass3d.model.build import build_network
from mass3d.model.presets import PRESETS, PresetName, Width, with_channels
from mass3d.pages.step import write_step_page
from mass3d.pretext.seen import look
from mass3d.pretext.task import TASKS, Cohort
from mass3d.store.several import Stores
from mass3d.training import checkpoint
from mass3d.training.fit import WEIGHTS, FitConfig, Progress, fit
from mass3d.training.resume import is_finished, require_same_run
from mass3d.transfer.trained import RunRecord
from mass3d.views.crop import choose_crop
from mass3d.views.draw import ViewConfig
from mass3d.volume.geometry import Shape

STEP_PAGE: Final = "step.html"


class PretrainConfig(Config):
    """Settings of `mass3d pretrain`."""

    store: Paths = Field(examples=["store"])
    """Prepared stores to learn from, one or more."""
    output: Path = Field(examples=["run"])
    """Run folder to write."""
    preset: PresetName = "tiny"
    """Size of the network."""
    channels: tuple[Width, ...] | None = Field(default=None, examples=[[16, 32, 64, 128, 256]])
    """Widths of its maps, the finest first, instead of those of the preset."""
    seed: Seed = 0
    resume: bool = False
    """Go on with an interrupted run, and refuse to begin one; without it, do whichever fits."""
    device: Device = "auto"
    workers: Workers = None
    fit: FitConfig = FitConfig()
    """Optimisation; what is not given comes from the preset."""
    views: ViewConfig = ViewConfig.model_validate(TASKS[PRESETS["tiny"].kind].views)
    """The pairs of views and their masks; what is not given comes from the preset."""

    @model_validator(mode="before")
    @classmethod
    def _with_recipe(cls, values: Any) -> Any:
        """Settings of `fit` and `views` that are not given are those of the preset."""
        if not isinstance(values, dict):
            return values
        preset = PRESETS.get(values.get("preset", "tiny"))
        if preset is None:
            return values  # refused for what they are
        recipe = {"fit": preset.recipe.model_dump(), "views": TASKS[preset.kind].views}
        return values | {
            name: _merged(usual, values.get(name, {})) for name, usual in recipe.items()
        }


@dataclass(frozen=True)
class PretrainReport(Report):
    """What a pretraining run ended with."""

    run: Path
    step: int
    crop_vox: Shape
    fingerprint: str  # of the delivered weights
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        crop = " x ".join(str(n) for n in self.crop_vox)
        return (
            f"Pretrained {counted(self.step, 'step')} on crops of {crop} voxels; "
            f"weights {self.fingerprint[:12]} in {self.run / WEIGHTS}."
        )


def run(config: PretrainConfig) -> PretrainReport:
    """Pretrain, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Raises
    `StoreError` for a bad store, `ConfigError` for impossible settings and when the folder holds
    another run.
    """
    require_own_folder(config.output, "pretrain", inputs=config.store)
    stores = Stores.open(config.store)
    cases = [stores.case(case_id) for case_id in stores.case_ids]
    preset = with_channels(PRESETS[config.preset], config.channels)
    net = build_network(preset, seed=config.seed)
    crop = choose_crop(
        config.views.crop_vox,
        [case.shape for case in cases],
        net.stride,
        max_voxels=preset.max_crop_voxels,
        max_edge=preset.max_crop_edge,
    )
    facts = {
        "preset": preset.plain(),
        "crop_vox": list(crop),
        "preparation": stores.preparation.plain(),
        "store": stores.fingerprint,
        "seed": config.seed,
        "fit": config.fit.decisive(),
        "views": config.views.plain(),
    }
    device = choose_device(config.device)
    steps = config.fit.steps
    if is_finished(config.output, facts, steps=steps, must_resume=config.resume):
        return _report(config, crop)
    task = TASKS[preset.kind]
    config.output.mkdir(parents=True, exist_ok=True)
    with only_writer(config.output, ModelError), progress("pretrain", config.fit.steps) as advance:
        require_same_run(config.output, facts)  # before its settings are written over
        write_provenance(config.output, "pretrain", config, store=stores.fingerprint, crop_vox=crop)
        cohort = Cohort(
            cases, crop, config.fit.batch_size, config.seed, config.output, config.workers
        )
        batches = task.batches(cohort, config.views)

        def hook(averaged: nn.Module, now: Progress) -> None:
            advance(now.step, _figures(now, task.figure))
            if now.step == now.steps:
                seen = look(averaged, task.show(batches(0, device)))
                write_step_page(config.output / STEP_PAGE, seen, steps=now.step)

        fit(
            net,
            batches,
            task.step,
            config.fit,
            run=config.output,
            facts=facts,
            seed=config.seed,
            hooks=(hook,),
            device=device,
        )
    return _report(config, crop)


def save_untrained(run: Path, *, like: Path) -> None:
    """Write the first weights of a finished run as a run of its own: the plain comparison."""
    path = like / WEIGHTS
    facts = checkpoint.read_facts(path, kind="weights")
    record = checkpoint.validated(RunRecord, facts, path)
    net = build_network(record.preset, seed=record.seed)
    checkpoint.save(run / WEIGHTS, net.state_dict(), kind="weights", facts={**facts, "step": 0})


def _merged(usual: Mapping[str, Any], given: Any) -> Any:
    """What is given over what is usual, setting by setting."""
    if isinstance(given, Config):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, dict):
        return given  # refused for what it is
    below = {
        name: _merged(usual[name], given[name])
        if isinstance(usual.get(name), dict)
        else given[name]
        for name in given
    }
    return {**usual, **below}


def _figures(now: Progress, shown: str) -> str:
    return (
        f"loss {now.figures['loss']:.3f}  {shown} {now.figures[shown]:.3f}  "
        f"{now.samples_per_s:.1f} samples/s"
    )


def _report(config: PretrainConfig, crop: Shape) -> PretrainReport:
    _, facts, fingerprint = checkpoint.load(config.output / WEIGHTS, kind="weights")
    return PretrainReport(config.output, facts["step"], crop, fingerprint)
