"""`mass3d pretrain`: learn in-context segmentation from prepared stores, without any label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from mass3d.config import Config, Device, Paths, Seed, Workers
from mass3d.device import choose_device
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import require_own_folder
from mass3d.execution.processes import Processes, started_processes
from mass3d.execution.progress import progress, tell
from mass3d.execution.summary import Report, counted, write_provenance
from mass3d.model.build import build_network
from mass3d.model.nnunet import Stacks, first_stacks
from mass3d.model.plan import Width
from mass3d.model.presets import PRESETS, Preset, PresetName, ResEncConfig, chosen_preset
from mass3d.pages.watch import Watch
from mass3d.pretext.recipe import of_recipe, with_recipe
from mass3d.pretext.task import MASKS, TASKS, Cohort, ObjectiveName, task_of
from mass3d.store.several import Stores
from mass3d.training import agreement, checkpoint
from mass3d.training.config import FitConfig
from mass3d.training.fabric import make_fabric
from mass3d.training.fate import same_fate
from mass3d.training.fit import fit
from mass3d.training.resume import batches_per_step, is_finished, require_same_run
from mass3d.training.run_files import WEIGHTS
from mass3d.transfer.validation.course import Trial, require_validated
from mass3d.transfer.validation.settings import ValidationConfig
from mass3d.views.balance import DrawConfig, balance_of
from mass3d.views.crop import choose_crop
from mass3d.views.draw import ViewConfig
from mass3d.volume.geometry import Shape


class PretrainConfig(Config):
    """Settings of `mass3d pretrain`."""

    store: Paths = Field(examples=["store"])
    """Prepared stores to train on, one or more."""
    output: Path = Field(examples=["run"])
    """Run folder to write."""
    preset: PresetName = "tiny"
    """Network, with the recipe it is trained by."""
    objective: ObjectiveName = "masks"
    """Pretraining objective: `masks`; or, to compare finetuning, masked autoencoder
    (`autoencoder`), contrastive learning (`contrastive`) or correspondence alone
    (`correspondence`)."""
    channels: tuple[Width, ...] | None = Field(default=None, examples=[[16, 32, 64, 128, 256]])
    """Channels of the network's feature maps, the finest first, instead of those of the preset."""
    resenc: ResEncConfig = ResEncConfig()
    """Encoder, decoder and initial weights of the presets resenc-m and resenc-l, which nnU-Net can
    load."""
    seed: Seed = 0
    resume: bool = False
    """Continue an interrupted run, and refuse to start a new one; without it, do whichever
    applies."""
    device: Device = "auto"
    workers: Workers = None
    fit: FitConfig = FitConfig.model_validate(PRESETS["tiny"].recipe.model_dump())
    """Optimisation; what is not given comes from the preset, or suits the chosen optimiser."""
    views: ViewConfig = ViewConfig.model_validate(TASKS[PRESETS["tiny"].kind].views)
    """Pairs of views and their masks; what is not given comes from the preset."""
    draws: DrawConfig = DrawConfig()
    """How often scans of each store and modality are sampled."""
    validation: ValidationConfig = ValidationConfig()
    """Validation on labelled scans during the run; nothing is learned from them."""
    tensorboard: bool = False
    """Write the metrics as TensorBoard event files, too (needs the extra `tensorboard`)."""

    @model_validator(mode="before")
    @classmethod
    def _with_recipe(cls, values: Any) -> Any:
        """Settings of `fit` and `views` not given are those of the preset and the objective."""
        return with_recipe(values) if isinstance(values, dict) else values

    def following(self) -> dict[str, Any]:
        """What the preset, the objective and the optimiser have decided."""
        return of_recipe(self.preset, self.objective, self.fit, self.views)


@dataclass(frozen=True)
class PretrainReport(Report):
    """What a pretraining run ended with."""

    run: Path
    step: int
    crop_vox: Shape
    fingerprint: str  # of the delivered weights
    began: str = ""  # with what other weights, in a sentence
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        crop = " x ".join(str(n) for n in self.crop_vox)
        return (
            f"Pretrained {counted(self.step, 'step')} on crops of {crop} voxels; "
            f"weights {self.fingerprint[:12]} in {self.run / WEIGHTS}. {self.began}"
        ).rstrip()


def run(config: PretrainConfig) -> PretrainReport:
    """Pretrain, or go on with the unfinished run in `config.output`.

    The same settings give the same weights on CPU, however often the run was killed. Processes that
    torchrun or srun started share the work. Raises `StoreError` for a bad store, `ConfigError` for
    impossible settings and when the folder holds another run.
    """
    processes, output, steps = started_processes(), config.output, config.fit.steps
    device = choose_device(config.device, shared=processes.total > 1)
    together = make_fabric(device, processes, config.fit.sharding)
    agreement.require_same_sight(together, output)
    with same_fate(together, output):  # all look before the first of them writes
        require_own_folder(output, "pretrain", inputs=config.store)
        stores = Stores.open(config.store)
        cases = stores.cases()
        preset = chosen_preset(config.preset, config.channels, config.resenc)
        task = task_of(config.objective, preset.kind, config.views)
        net = build_network(preset, seed=config.seed)
        begun = first_stacks(net, preset, config.resenc.init)
        most, edge = preset.max_crop_voxels, preset.max_crop_edge
        shapes, given = [case.shape for case in cases], config.views.crop_vox
        crop = choose_crop(given, shapes, net.stride, max_voxels=most, max_edge=edge)
        balance = balance_of(stores, cases, config.draws)
        drawn = {"draws": balance.plain()} if balance else {}
        facts = _facts(config, preset, stores, crop, processes) | begun.facts() | drawn
        if is_finished(output, facts, steps=steps, must_resume=config.resume):
            require_validated(output, config.validation)
            return _report(config, crop, begun)
        require_same_run(output, facts)  # before its settings are written over
    with agreement.writing(together, processes, output), progress("pretrain", steps) as advance:
        shares = {"draws": [part.plain() for part in balance.parts]} if balance else {}
        known = {"store": stores.fingerprint, "crop_vox": crop, **shares}
        prepared, other, size = stores.preparation, facts.get("began", ""), config.fit.batch_size
        cohort = Cohort(cases, crop, size, config.seed, output, config.workers, balance)
        trial = Trial(preset, config.seed, config.objective, crop, prepared, device, net, other)
        watch = Watch(output, task, trial, config.plain())
        with same_fate(together, output):
            if processes.first:
                write_provenance(output, "pretrain", config, **known)
                begun.write(output)
                if balance is not None:
                    tell(balance.in_words())
                watch.begin(config.validation, tensorboard=config.tensorboard)
        batches = agreement.in_turn(together, output, lambda: task.batches(cohort, config.views))
        fit(
            task.model(net, seed=config.seed),
            batches,
            task.step,
            config.fit,
            run=output,
            facts=facts,
            seed=config.seed,
            hooks=watch.hooks(batches, advance),
            processes=processes,
            fabric=together,
        )
    return _report(config, crop, begun)


def _facts(
    config: PretrainConfig, preset: Preset, stores: Stores, crop: Shape, processes: Processes
) -> dict[str, Any]:
    """What decides the weights of a run, and is written with them."""
    per_step = batches_per_step(config.fit, config.output, processes)
    return {
        "preset": preset.plain(),
        "crop_vox": list(crop),
        "preparation": stores.preparation.plain(),
        "store": stores.fingerprint,
        "seed": config.seed,
        "fit": config.fit.decisive(per_step),
        "views": config.views.plain(),
        **({} if config.objective == MASKS else {"objective": config.objective}),
    }


def _report(config: PretrainConfig, crop: Shape, begun: Stacks) -> PretrainReport:
    _, facts, fingerprint = checkpoint.load(config.output / WEIGHTS, kind="weights")
    return PretrainReport(config.output, facts["step"], crop, fingerprint, begun.in_words())
