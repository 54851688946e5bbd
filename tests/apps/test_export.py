from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import mass3d
from mass3d.apps.export import ExportConfig, ExportReport, run
from mass3d.errors import ConfigError, ModelError
from mass3d.files import file_hash, read_json, write_json
from mass3d.pages.card import CARD
from mass3d.training import checkpoint
from mass3d.training.run_files import RESUME, WEIGHTS
from mass3d.transfer.finetuned.segmenter import load_segmenter
from mass3d.transfer.knowledge import load_knowledge
from mass3d.transfer.trained import load_trained
from mass3d.volume.ranges import Ranges


def export(model: Path, output: Path, **settings: str) -> ExportReport:
    return run(ExportConfig.model_validate({"model": model, "output": output, **settings}))


def header(card: str) -> dict[str, object]:
    """What the hub reads of a card."""
    _, told, _ = card.split("---\n", 2)
    found = yaml.safe_load(told)
    assert isinstance(found, dict)
    return found


def test_a_run_is_exported_with_its_bytes_and_a_card(trained: Path, tmp_path: Path) -> None:
    report = export(trained, tmp_path / "shared", license="cc-by-4.0", data="Four phantoms.")
    assert (tmp_path / "shared" / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    assert report.fingerprint == load_trained(trained).fingerprint
    assert report.fingerprint == load_trained(tmp_path / "shared").fingerprint
    card = (tmp_path / "shared" / CARD).read_text()
    told = header(card)
    assert told["license"] == "cc-by-4.0"
    assert told["library_name"] == "mass3d"
    for words in (
        "# shared",
        "Four phantoms.",
        report.fingerprint,
        "7 mm",
        "| objective | masks |",
    ):
        assert words in card
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {
        WEIGHTS,
        CARD,
        "config.toml",
        "record.json",
    }
    again = export(trained, tmp_path / "shared", license="cc-by-4.0", data="Four phantoms.")
    assert again == report
    assert (tmp_path / "shared" / CARD).read_text() == card


@pytest.mark.parametrize("to", ["hub", "onnx"])
def test_a_run_that_has_not_ended_is_told(trained: Path, tmp_path: Path, to: str) -> None:
    half = Path(shutil.copytree(trained, tmp_path / "half"))
    assert export(half, tmp_path / "ended", to=to).warnings == ()
    shutil.copy(half / WEIGHTS, half / RESUME)
    report = export(half, tmp_path / "shared", to=to)
    (told,) = report.warnings
    assert re.fullmatch(
        r"the run .*half has not ended: its weights are those after \d+ updates", told
    )
    assert report.summary().endswith(f"Warning: {told}.")
    if to == "hub":
        cards = [(tmp_path / name / CARD).read_text() for name in ("shared", "ended")]
        assert ["has not ended: its weights" in card for card in cards] == [True, False]


def test_what_is_not_said_is_asked_for(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path / "shared")
    card = (tmp_path / "shared" / CARD).read_text()
    assert "license" not in header(card)
    assert "Whoever shares it should say here" in card


def test_a_card_that_was_completed_by_hand_stays(trained: Path, tmp_path: Path) -> None:
    """Whatever is exported after it; one that was not touched is replaced."""
    card, new = tmp_path / "shared" / CARD, tmp_path / "shared" / "README.new.md"
    export(trained, tmp_path / "shared")
    again = export(trained, tmp_path / "shared", license="mit")
    assert header(card.read_text())["license"] == "mit"
    assert "not as it was written" not in again.summary()
    assert not new.exists()
    told = read_json(tmp_path / "shared" / "record.json")
    assert told["page_sha256"] == file_hash(card)
    card.write_text(mine := card.read_text() + "\nIt fails on children.\n")
    for terms in ("mit", "cc-by-4.0", "cc-by-4.0"):
        report = export(trained, tmp_path / "shared", license=terms)
        assert card.read_text() == mine
        assert f"not as it was written here and stays; the new one is {new}." in report.summary()
        assert header(new.read_text())["license"] == terms
    new.replace(card)  # as nobody has changed it, it is ours again
    assert "not as it was written" not in export(trained, tmp_path / "shared").summary()
    assert "license" not in header(card.read_text())


def test_a_card_of_which_nothing_is_known_stays(trained: Path, tmp_path: Path) -> None:
    """As older versions wrote them, unless it is the same one."""
    export(trained, tmp_path / "shared")
    record = tmp_path / "shared" / "record.json"
    old = {key: value for key, value in read_json(record).items() if key != "page_sha256"}
    write_json(record, old)
    assert "not as it was written" not in export(trained, tmp_path / "shared").summary()
    write_json(record, old)
    assert "not as it was written" in export(trained, tmp_path / "shared", license="mit").summary()
    assert "license" not in header((tmp_path / "shared" / CARD).read_text())


def test_nothing_that_people_write_is_markdown_or_yaml(trained: Path, tmp_path: Path) -> None:
    title, data = "a *b* <script>x</script>\n# heading", "[x](javascript:y) | cell\n---\n"
    export(trained, tmp_path / "shared", title=title, data=data, license="x\nevil: yes")
    card = (tmp_path / "shared" / CARD).read_text()
    assert header(card)["license"] == "x\nevil: yes"
    assert "evil" not in header(card)
    assert r"\<script\>" in card
    assert r"\[x\](javascript" in card
    assert "\n---" not in card.split("---\n", 2)[2]
    assert card.count("\n# ") == 1


def test_an_exported_model_is_loaded_by_its_name_on_the_hub(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(trained, tmp_path / "shared")
    _as_fetched(tmp_path / "shared", tmp_path, monkeypatch)
    assert mass3d.load("lab/torso").trained.fingerprint == load_trained(trained).fingerprint
    with pytest.raises(ModelError, match="hf download lab/other"):
        mass3d.load("lab/other")
    with pytest.raises(ModelError, match="no file or folder") as refused:
        mass3d.load("torso")
    assert "hf download" not in refused.value.fix


def _as_fetched(folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a folder where `hf download lab/torso` does."""
    from huggingface_hub import constants  # noqa: PLC0415

    cache = place / "cache"
    (cache / "models--lab--torso/refs").mkdir(parents=True)
    (cache / "models--lab--torso/refs/main").write_text("abc")
    shutil.copytree(folder, cache / "models--lab--torso/snapshots/abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.chdir(place)


def test_a_finetuned_model_of_the_hub_knows_what_its_scans_were_like(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = tmp_path / "tuned"
    _finetuned(trained, tuned)
    span = (1.0, 2.0)
    ranges = Ranges(modalities=("ct",), edge_mm=span, extent_mm=(span, span, span))
    write_json(tuned / "record.json", {"verb": "finetune", "ranges": ranges.plain()})
    export(tuned, tmp_path / "shared")
    _as_fetched(tmp_path / "shared", tmp_path, monkeypatch)
    for model in (tuned, tuned / WEIGHTS, Path("lab/torso")):
        assert load_knowledge(None, model, device="cpu").ranges == ranges, model
    export(Path("lab/torso"), tmp_path / "again")
    assert read_json(tmp_path / "again/record.json")["ranges"] == ranges.plain()


def test_a_finetuned_model_is_exported_with_its_structures(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = tmp_path / "tuned"
    made = _finetuned(trained, tuned)
    write_json(tuned / "record.json", {"verb": "finetune", "ranges": {"of": 1}, "structures": made})
    export(tuned, tmp_path / "shared")
    card = (tmp_path / "shared" / CARD).read_text()
    assert "| left\\_kidney | 3 |" in card
    assert "finetuned" in header(card)["tags"]  # type: ignore[operator]
    assert read_json(tmp_path / "shared/record.json")["ranges"] == {"of": 1}
    assert dict(mass3d.load(tmp_path / "shared").structures) == made  # type: ignore[attr-defined]


def _finetuned(trained: Path, folder: Path) -> dict[str, int]:
    """Weights as `finetune` writes them, of a head that has learned nothing."""
    import torch  # noqa: PLC0415

    from mass3d.model.segmentation import SegmentationNetwork  # noqa: PLC0415

    model = load_trained(trained)
    net = SegmentationNetwork(model.net, 2)  # type: ignore[arg-type]
    facts = checkpoint.read_facts(trained / WEIGHTS, kind="weights")
    structures = {"liver": 1, "left_kidney": 3}
    kept = {key: facts[key] for key in ("preset", "crop_vox", "preparation", "seed", "step")}
    told = {
        **kept,
        "structures": [[name, value] for name, value in structures.items()],
        "start": "pretrained",
        "model": model.fingerprint,
        "scans": "of nobody",
    }
    with torch.no_grad():
        checkpoint.save(folder / WEIGHTS, net.state_dict(), kind="weights", facts=told)
    return structures


def test_a_store_and_a_folder_with_other_things_are_refused(
    store: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="mass3d extract"):
        export(store, tmp_path / "shared")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="mine"):
        export(trained, tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"
    with pytest.raises(ConfigError):
        export(trained, trained)


def test_the_lines_of_the_page_run_an_exported_model(
    trained: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = _finetuned(trained, tmp_path / "tuned")
    report = export(tmp_path / "tuned", tmp_path / "portable", to="onnx")
    assert report.portable is not None
    assert "opset 17" in report.summary()
    told = read_json(tmp_path / "portable" / "record.json")
    assert told["output"] == "logits"
    assert told["max_relative_error"] < 1e-4
    assert (told["fingerprint"], told["opset"]) == (report.fingerprint, 17)
    page = Path(__file__).parents[2] / "docs/how-to/onnx.md"
    prepare, run_model = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.M)
    shutil.copy(cohort / "imagesTr" / "ct_000_0000.nii.gz", tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    exec(prepare, {})
    image = np.load("prepared.npy")
    model = load_segmenter(tmp_path / "tuned")
    window = [(0, max(0, w - n)) for n, w in zip(image.shape, model.trained.crop, strict=True)]
    np.save("prepared.npy", np.pad(image, window))
    found: dict[str, np.ndarray] = {}
    exec(run_model, found)
    assert set(np.unique(found["label"])) <= {0, *structures.values()}
    assert found["logits"].shape == (3, *model.trained.crop)


def test_a_pretrained_model_gives_its_features(trained: Path, tmp_path: Path) -> None:
    report = export(trained, tmp_path / "portable", to="onnx")
    assert report.portable is not None
    assert report.portable.output == "features"
    assert {path.name for path in (tmp_path / "portable").iterdir()} == {
        "model.onnx",
        "config.toml",
        "record.json",
    }
