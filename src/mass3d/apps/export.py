"""`mass3d export`: a model as a folder that others can load, with a card that says what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mass3d.config import Config
from mass3d.errors import ConfigError
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record, require_own_folder
from mass3d.execution.summary import Report, write_provenance
from mass3d.files import write_text
from mass3d.pages.card import CARD, model_card
from mass3d.pages.shown import facts_of
from mass3d.store.schema import INDEX
from mass3d.transfer.finetuned.segmenter import load_segmenter

ABOUT_DATA = ("structures", "ranges")  # of the record of a finetuning, which `segment` asks


class ExportConfig(Config):
    """Settings of `mass3d export`."""

    model: Path = Field(examples=["run"])
    """Run folder or weights file of a pretrained or finetuned model, or the published weights."""
    output: Path = Field(examples=["shared"])
    """Folder to write."""
    title: str = ""
    """What the model is called in its card; by default as the folder."""
    license: str = Field(default="", examples=["cc-by-4.0"])
    """Terms under which the weights may be used, as the hub names them."""
    data: str = ""
    """What scans it has learned from, in a sentence or two for the card."""


@dataclass(frozen=True)
class ExportReport(Report):
    """What was written."""

    output: Path
    fingerprint: str
    faults: tuple[Fault, ...] = ()

    def summary(self) -> str:
        """One paragraph for people."""
        return (
            f"Exported the weights {self.fingerprint[:12]} into {self.output}, with a card: say in "
            f"{CARD} what only you know. The folder is loaded like any run; "
            f"hf upload NAME {self.output} puts it on the hub of Hugging Face."
        )


def run(config: ExportConfig) -> ExportReport:
    """Write weights, which are checked, and a card made from their record.

    Raises `ModelError` for a model that cannot be trusted, `ConfigError` for a store, out of which
    cases are taken otherwise.
    """
    require_own_folder(config.output, "export", inputs=(config.model,))
    if (config.model / INDEX).exists():
        raise ConfigError(
            config.model,
            found="a store",
            expected="a model",
            fix="Cases are taken out of a store by `mass3d extract STORE -o FOLDER`.",
            setting="model",
        )
    loaded = load_segmenter(config.model, device="cpu")
    weights = loaded.write(config.output)
    known = earlier_record(config.model)
    told = {key: known[key] for key in ABOUT_DATA if key in known}
    write_provenance(config.output, "export", config, **told)
    title = config.title or config.output.absolute().name
    card = model_card(facts_of(weights), title=title, terms=config.license, data=config.data)
    write_text(config.output / CARD, card)
    return ExportReport(config.output, loaded.trained.fingerprint)
