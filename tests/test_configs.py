"""configs/<verb>.toml say what the settings are: complete, up to date, readable by `--config`."""

import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mass3d.apps.pretrain import PretrainConfig
from mass3d.cli.describe import choices_of
from mass3d.cli.verbs import VERBS
from mass3d.config import Config, build, resolve, to_toml
from mass3d.errors import ConfigError
from mass3d.execution.summary import write_provenance
from mass3d.model.presets import PRESETS
from mass3d.pretext.task import OBJECTIVES
from mass3d.training.config import RATES

ROOT = Path(__file__).resolve().parent.parent
PATHS = ("scans", "other")  # of any required setting
CHOICES: dict[str, Iterable[str]] = {
    "preset": PRESETS,
    "objective": OBJECTIVES,
    "fit.optimizer": RATES,
}
PRETRAININGS = [{setting: value} for setting, values in CHOICES.items() for value in values]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(ROOT / "tools")  # where it finds its neighbour
    spec = importlib.util.spec_from_file_location("write_configs", ROOT / "tools/write_configs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    return module


def required(kind: type[Config]) -> dict[str, Any]:
    """The least that must be given."""
    return {
        name: PATHS if "tuple" in str(field.annotation) else PATHS[0]
        for name, field in kind.model_fields.items()
        if field.is_required()
    }


def uncommented(text: str) -> str:
    """The file with every example set."""
    return re.sub(r"^#(?=\S| {4}\{)", "", text, flags=re.MULTILINE)


def leaves(kind: type[Config], prefix: str = "") -> set[str]:
    """Dotted names of all settings that are not groups."""
    found: set[str] = set()
    for name, field in kind.model_fields.items():
        groups = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [part for part in groups if isinstance(part, type) and issubclass(part, Config)]
        lists = "tuple" in str(field.annotation)
        found |= leaves(inner[0], f"{prefix}{name}.") if inner and not lists else {prefix + name}
    return found


def flat(values: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_holds_exactly_the_defaults(verb: str, tool: ModuleType) -> None:
    kind, given = tool.config_of(verb), required(tool.config_of(verb))
    loaded = resolve(kind, file=ROOT / "configs" / f"{verb}.toml", flags=given)
    assert loaded == build(kind, given)


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_names_every_setting_and_its_examples_are_valid(
    verb: str, tool: ModuleType, tmp_path: Path
) -> None:
    kind = tool.config_of(verb)
    text = uncommented((ROOT / "configs" / f"{verb}.toml").read_text())
    (tmp_path / "all.toml").write_text(text)
    resolve(kind, file=tmp_path / "all.toml")
    named = {
        re.sub(r"^(structures|colours|kinds|draws\.(?:stores|modalities))\..*", r"\1", name)
        for name in flat(tomllib.loads(text))
    }
    assert named == leaves(kind)


def choices(tool: ModuleType, kind: type[Config]) -> Iterator[dict[str, str]]:
    """Every value of every setting that is one of a few, each alone."""
    for name in sorted(leaves(kind)):
        field = tool.field_of(kind, name)
        if "tuple" not in str(field.annotation):
            yield from ({name: value} for value in choices_of(field.annotation))


@pytest.mark.parametrize("verb", VERBS)
def test_with_its_file_every_choice_is_what_it_is_without(verb: str, tool: ModuleType) -> None:
    """A line that follows from a preset or an optimiser held any other to the numbers of tiny."""
    kind, file = tool.config_of(verb), ROOT / "configs" / f"{verb}.toml"
    for choice in choices(tool, kind):
        given = required(kind) | choice
        try:
            wanted = resolve(kind, flags=given)
        except ConfigError:  # other settings would have to be given with it
            continue
        assert resolve(kind, file=file, flags=given) == wanted, choice


def test_another_preset_may_be_written_into_a_copy(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "pretrain.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('preset = "tiny"', 'preset = "base"'))
    given = required(PretrainConfig)
    mine = resolve(PretrainConfig, file=tmp_path / "mine.toml", flags=given)
    assert mine == resolve(PretrainConfig, flags=given | {"preset": "base"})
    assert (mine.fit.steps, mine.fit.optimizer, mine.fit.weight_decay) == (100_000, "lamb", 1e-5)


@pytest.mark.parametrize("verb", VERBS)
def test_written_settings_are_read_back(verb: str, tool: ModuleType, tmp_path: Path) -> None:
    kind = tool.config_of(verb)
    config = resolve(kind, flags=required(kind))
    for following in (dict[str, Any](), config.following()):
        (tmp_path / "config.toml").write_text(to_toml(config, following=following))
        assert resolve(kind, file=tmp_path / "config.toml") == config


# an optimiser that was asked for, but is the usual one of the preset, follows it from then on
@pytest.mark.parametrize("first", [one for one in PRETRAININGS if "muon" not in one.values()])
def test_the_settings_of_a_run_do_not_bind_another_preset(
    first: dict[str, str], tmp_path: Path
) -> None:
    given = required(PretrainConfig) | {"views.num_masks": 7, "fit.lr": 0.5, "fit.log_every": 3}
    config = resolve(PretrainConfig, flags=given | first)
    write_provenance(tmp_path, "pretrain", config)
    file, again = tmp_path / "config.toml", {"output": given["output"]}
    assert resolve(PretrainConfig, file=file, flags=again) == config  # all of them are there
    for other in PRETRAININGS:
        found = resolve(PretrainConfig, file=file, flags=again | other)
        assert found == resolve(PretrainConfig, flags=given | first | other)
    text = file.read_text()
    assert f"\n# steps = {config.fit.steps}\n" in text  # and told
    assert "\nnum_masks = 7\n" in text
    (tmp_path / "kept.toml").write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE))
    assert resolve(PretrainConfig, file=tmp_path / "kept.toml", flags=again) == config


def test_odd_names_and_texts_are_read_back(tool: ModuleType, tmp_path: Path) -> None:
    kind = tool.config_of("task")
    structures = {"left kidney": 1, "a.b": 2, 'quo"te': 3, "größe": 4}
    config = build(kind, {**required(kind), "model": "a\\b\x7f\tc\n", "structures": structures})
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert resolve(kind, file=tmp_path / "config.toml") == config


def test_the_files_are_up_to_date(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_file_is_found_and_renewed(tool: ModuleType, tmp_path: Path) -> None:
    where = ["--folder", str(tmp_path)]
    assert tool.main(["--check", *where]) == 1
    assert not list(tmp_path.iterdir())
    assert tool.main(where) == 0
    assert tool.main(["--check", *where]) == 0
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    expected = {f"configs/{verb}.toml" for verb in VERBS}
    assert made == {*expected, "docs/reference/commands.md", "src/mass3d/__init__.pyi"}
    (tmp_path / "configs" / "prepare.toml").write_text('spacing_mm = "auto"\n')
    assert tool.main(["--check", *where]) == 1
