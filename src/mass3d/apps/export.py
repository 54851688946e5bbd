"""`mass3d export`: a model as a folder that others can load, with a card that says what it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from mass3d.config import Config
from mass3d.errors import ConfigError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.summary import (
    Report,
    readme_told,
    warnings_told,
    write_provenance,
    write_readme,
)
from mass3d.model.nnunet import WEIGHTS_KEY
from mass3d.pages.card import CARD, model_card
from mass3d.pages.handover import GUIDE, handed_over, handover_page
from mass3d.pages.shown import facts_of
from mass3d.store.schema import INDEX
from mass3d.transfer.finetuned.segmenter import load_segmenter
from mass3d.transfer.handover import checkpoint_of, require_fit, require_plan, write_handover
from mass3d.transfer.portable import ONNX_FILE, Portable, require_onnx, write_onnx
from mass3d.transfer.raw_dataset.plan import open_results, plan_of, require_name
from mass3d.transfer.raw_dataset.settings import RawConfig
from mass3d.transfer.raw_dataset.write import RawDataset, write_raw
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.trained import record_beside, unfinished

ABOUT_DATA = ("structures", "ranges")  # of the record of a finetuning, which `segment` asks


class ExportConfig(Config):
    """Settings of `mass3d export`."""

    model: Path = Field(examples=["run"])
    """Run folder or weights file of a pretrained or finetuned model, or the published weights; for
    a raw dataset, the result folder of segment."""
    output: Path = Field(examples=["shared"])
    """Folder to write."""
    title: str = ""
    """Name of the model or dataset; by default that of the folder."""
    license: str = Field(default="", examples=["cc-by-4.0"])
    """Licence of the weights or data, as the hub names it."""
    data: str = ""
    """The training scans of the model, or the scans of the dataset, in a sentence or two."""
    to: Literal["hub", "nnunet", "nnunet-raw", "onnx"] = "hub"
    """Target format: `hub`, a model folder that is loaded like any run; `nnunet`, encoder and
    decoder of a preset resenc-m or resenc-l as pretrained weights for nnU-Net; `nnunet-raw`,
    results of segment as a raw dataset of nnU-Net; `onnx`, the network's output for one window, for
    programs without torch; needs onnx and onnxruntime."""
    plans: Path | None = Field(default=None, examples=["nnUNetResEncUNetLPlans.json"])
    """Plans file of nnU-Net that the weights must fit; with `to = "nnunet"`."""
    configuration: str = "3d_fullres"
    """Configuration of the plans file."""
    raw: RawConfig = RawConfig()
    """The dataset made from results; with `to = "nnunet-raw"`."""


@dataclass(frozen=True)
class ExportReport(Report):
    """What was written."""

    output: Path
    fingerprint: str
    faults: tuple[Fault, ...] = ()
    tensors: int = 0  # of nnU-Net's encoder and decoder, by all their names
    portable: Portable | None = None  # of the ONNX file
    raw: RawDataset | None = None  # of results
    page: Path | None = None  # beside a model
    warnings: tuple[str, ...] = ()  # sentences about what is odd

    def summary(self) -> str:
        """One paragraph for people."""
        return f"{self._told()}{warnings_told(self.warnings)}"

    def _told(self) -> str:
        if self.raw is not None:
            return self.raw.in_words()
        if self.tensors:
            first = handed_over(self.output, self.fingerprint, self.tensors)
            return first + readme_told(self.output / GUIDE, self.page)
        if self.portable is not None:
            return self.portable.in_words(self.output, self.fingerprint)
        return (
            f"Exported the weights {self.fingerprint[:12]} into {self.output}, with a card: say in "
            f"{CARD} what only you know. The folder is loaded like any run; "
            f"hf upload NAME {self.output} puts it on the hub of Hugging Face."
            + readme_told(self.output / CARD, self.page)
        )


def run(config: ExportConfig) -> ExportReport:
    """Write weights, which are checked, and a card made from their record; or results as a dataset.

    Raises `ModelError` for a model that cannot be trusted or that nnU-Net cannot take,
    `ConfigError` for a plans file that it does not fit, for a store, out of which cases are
    taken otherwise, and for a folder without results. A case that cannot become part of a dataset
    is a fault, and the others go on.
    """
    given = (config.model, *config.raw.scans, config.raw.true_labels)
    require_own_folder(config.output, "export", inputs=given)
    if (config.model / INDEX).exists():
        raise ConfigError(
            config.model,
            found="a store",
            expected="a model",
            fix="Cases are taken out of a store by `mass3d extract STORE -o FOLDER`.",
            setting="model",
        )
    _require_purpose(config)
    before = earlier_record(config.output).get("config", {}).get("to", config.to)
    if before != config.to:
        raise ConfigError(
            config.output,
            found=f"an export to the {before}",
            expected=f"a new or empty folder, or an export to the {config.to}",
            fix="Choose another output.",
            setting="output",
        )
    if config.to == "nnunet-raw":
        return _to_raw(config)
    if config.to == "onnx":
        require_onnx()
    loaded = load_segmenter(config.model, device="cpu")
    export = {"hub": _to_hub, "nnunet": _to_nnunet, "onnx": _to_onnx}[config.to]
    return replace(export(config, loaded), warnings=unfinished(config.model))


def _require_purpose(config: ExportConfig) -> None:
    """Raise `ConfigError` for settings of another kind of export."""
    named = {
        "plans": (config.plans is not None, "nnunet", "a plans file of nnU-Net"),
        "raw": (config.raw != RawConfig(), "nnunet-raw", "settings of a raw dataset"),
    }
    for setting, (given, purpose, what) in named.items():
        if given and config.to != purpose:
            raise ConfigError(
                config.plans or setting,
                found=f"{what} for an export to the {config.to}",
                expected=f"none, or an export to {purpose}",
                fix=f"Leave it out, or export to {purpose}.",
                setting=setting,
            )


def _to_raw(config: ExportConfig) -> ExportReport:
    require_name(config.output)
    results = open_results(config.model)
    plan = plan_of(results, config.raw, output=config.output)
    told = {"name": config.title, "license": config.license, "description": config.data}
    made_by, known = results.index.task, results.targets.plain()
    facts = {"task": made_by, "structures": known, "left_out": plan.left_out}
    claim = partial(write_provenance, config.output, "export", config, **facts)
    found = write_raw(config.output, results, plan, config.raw, told=told, claim=claim)
    return ExportReport(config.output, made_by, found.faults, raw=found)


def _to_hub(config: ExportConfig, loaded: Segmenter) -> ExportReport:
    weights = loaded.write(config.output)
    known = record_beside(config.model)
    told = {key: known[key] for key in ABOUT_DATA if key in known}
    card = model_card(facts_of(weights), **_words(config), odd=unfinished(config.model))
    page = write_readme(config.output / CARD, card, verb="export", config=config, **told)
    return ExportReport(config.output, loaded.trained.fingerprint, page=page)


def _to_nnunet(config: ExportConfig, loaded: Segmenter) -> ExportReport:
    trained, output = loaded.trained, config.output
    plan = require_plan(config.model, trained)
    if config.plans is not None:
        require_fit(plan, config.plans, config.configuration)
    content = checkpoint_of(trained, plan)
    guide, made_by = handover_page(trained, plan, **_words(config)), trained.fingerprint
    page = write_readme(output / GUIDE, guide, verb="export", config=config, fingerprint=made_by)
    write_handover(output, content)
    return ExportReport(output, made_by, tensors=len(content[WEIGHTS_KEY]), page=page)


def _to_onnx(config: ExportConfig, loaded: Segmenter) -> ExportReport:
    trained, found = loaded.trained, write_onnx(config.output / ONNX_FILE, loaded)
    told = {"preparation": trained.preparation.plain(), **found.plain()}
    write_provenance(config.output, "export", config, fingerprint=trained.fingerprint, **told)
    return ExportReport(config.output, trained.fingerprint, portable=found)


def _words(config: ExportConfig) -> dict[str, str]:
    """What people have said."""
    title = config.title or config.output.absolute().name
    return {"title": title, "terms": config.license, "data": config.data}
