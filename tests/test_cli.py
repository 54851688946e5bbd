from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import numpy as np
import pytest
import typer
from scipy import ndimage

import scans
from mass3d import cli
from mass3d.cli import describe, verbs
from mass3d.config import Config, build, resolve
from mass3d.execution.processes import SRUN
from mass3d.files import VERSION
from mass3d.io.write import write_image, write_label
from mass3d.volume.volume import Volume

VERBS = [
    "prepare",
    "pretrain",
    "task",
    "merge",
    "adapt",
    "finetune",
    "curve",
    "segment",
    "locate",
    "embed",
    "probe",
    "evaluate",
    "inspect",
    "masks",
    "check",
    "extract",
    "show",
    "export",
    "serve",
    "demo",
]
SHAPE = (20, 24, 22)
HEAVY = {"torch", "numpy", "scipy", "nibabel", "SimpleITK", "blosc2", "higra", "matplotlib"}


def run(*arguments: str | Path) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    code = left.value.code
    assert isinstance(code, int)
    return code


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and message of a command line that fails; nothing but the message is said."""
    code = run(*arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return code, err.removeprefix("error: ").strip()


def process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command hands on to its app; filled when it is called."""
    given: dict[str, Any] = {}

    def execute(
        verb: str, file: Path | None, assignments: Any, values: dict[str, Any], voice: Any
    ) -> None:
        given.update(verb=verb, file=file, assignments=assignments, flags=values, voice=voice)

    monkeypatch.setattr(cli, "_execute", execute)
    return given


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans with bright blobs."""
    found = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        blobs = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2.5)
        image = np.where(blobs > 0, 300.0, 100.0) + 5 * rng.standard_normal(SHAPE)
        image[:2] = image[-2:] = 0
        source = Volume.from_array(image, spacing_mm=(2.0, 2.0, 2.0)).source
        write_image(found / f"{name}.nii.gz", image, source)
    return found


# --- help ----------------------------------------------------------------------------------------


def test_help_is_there_at_once_because_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mass3d.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: assert left.code == 0\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    # the options of a verb are read off its settings, and what these need is loaded
    for words, heavy in (("--help", HEAVY | {"pydantic"}), ("prepare --help", {"torch"})):
        done = process(code, *words.split())
        assert done.returncode == 0, done.stderr
        loaded = set(done.stdout.rpartition("LOADED")[2].split())
        assert "typer" in loaded
        assert not loaded & heavy


def test_help_names_every_verb_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for verb in VERBS:
        assert f" {verb} " in text


def test_without_a_verb_help_is_shown_as_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "Usage: mass3d" in "".join(capsys.readouterr())


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_takes_a_file_and_any_setting(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "-h") == 0
    text = capsys.readouterr().out
    assert f"Usage: mass3d {verb}" in text
    assert "--config" in text
    assert "--set" in text


def test_these_are_all_verbs() -> None:
    group: Any = typer.main.get_command(cli.build_app())
    assert list(group.commands) == VERBS


# --- from words to settings ----------------------------------------------------------------------


def config_of(verb: str) -> type[Config]:
    kind = getattr(importlib.import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
    assert issubclass(kind, Config)
    return kind


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_a_setting_of_its_verb(verb: str, flags: dict[str, Any]) -> None:
    assert run(verb) == 0
    assert flags["verb"] == verb
    for key in verbs.VERBS[verb].given:
        kind: Any = config_of(verb)
        *groups, last = key.split(".")
        for group in groups:
            kind = kind.model_fields[group].annotation
            kind = next((part for part in get_args(kind) if part is not NoneType), kind)
        assert last in kind.model_fields, key


@pytest.mark.parametrize("verb", VERBS)
def test_a_flag_that_is_not_given_leaves_the_setting_alone(
    verb: str, flags: dict[str, Any]
) -> None:
    assert run(verb) == 0
    assert flags["flags"] == {}


def test_references_may_be_listed_after_one_option(flags: dict[str, Any]) -> None:
    words = "task -i a.nii b.nii -l c.nii d.nii -m run -o x.task --device cpu"
    assert run(*words.split()) == 0
    assert flags["flags"] == {
        "images": [Path("a.nii"), Path("b.nii")],
        "labels": [Path("c.nii"), Path("d.nii")],
        "model": Path("run"),
        "output": Path("x.task"),
        "device": "cpu",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("task -i a b -l c d", "task -i a -i b -l c -l d"),
        ("task --images a b c --labels d", "task --images a --images b --images c --labels d"),
        ("task -i a -i b", "task -i a -i b"),
        ("task -i a -o x -l b c", "task -i a -o x -l b -l c"),
        ("task -i", "task -i"),
        ("task -o x y", "task -o x y"),
        ("segment a b -o x", "segment a b -o x"),
        ("", ""),
    ],
)
def test_only_the_lists_of_references_are_spread(given: str, told: str) -> None:
    assert cli.spread(given.split()) == told.split()


def test_settings_of_a_group_and_many_assignments_are_handed_on(flags: dict[str, Any]) -> None:
    words = "pretrain store -o run --steps 7 --set fit.lr=1 --set seed=3 --config x.toml --resume"
    assert run(*words.split()) == 0
    assert flags["file"] == Path("x.toml")
    assert flags["assignments"] == ["fit.lr=1", "seed=3"]
    assert flags["flags"]["fit.steps"] == "7"
    assert flags["flags"]["resume"] is True


# --- exit codes ----------------------------------------------------------------------------------


def test_a_verb_that_does_everything_ends_with_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", folder, "--workers", "1") == 0
    assert "Read 2 scans" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_setting_names_the_closest_and_ends_with_2(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    close = {"check": "store", "show": "paths"}.get(verb, "output")  # these write nothing
    code, told = error_of(capsys, verb, "--set", f"{close}s=x")
    assert code == 2
    assert told.startswith(f"setting '{close}s': found an unknown key; expected one of ")
    assert told.endswith(f"Did you mean '{close}'?")


@pytest.mark.parametrize(
    ("verb", "missing", "typed"),
    [
        ("prepare", "inputs", "SCANS"),
        ("pretrain", "store", "STORE"),
        ("task", "images", "-i SCAN"),
        ("segment", "inputs", "SCANS"),
        ("evaluate", "predictions", "PREDICTIONS"),
        ("inspect", "inputs", "SCANS"),
        ("masks", "store", "STORE"),
        ("extract scans", "output", "-o FOLDER"),
    ],
)
def test_a_missing_setting_is_told_in_a_sentence_and_ends_with_2(
    verb: str, missing: str, typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = error_of(capsys, *verb.split())
    assert code == 2
    assert told.startswith(f"setting '{missing}': found no value; expected one (")
    assert told.endswith(f"Give it a value. On the command line: {typed}.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--spacing wide", "setting 'spacing_mm': found 'wide'; expected a valid number or 'auto'"),
        (
            "--spacing -1",
            "setting 'spacing_mm': found '-1'; expected greater than or equal to 0.001 or 'auto'",
        ),
        ("--modality xray", "setting 'modality': found 'xray'; expected 'ct', 'mr' or 'pet' or"),
        ("--workers 0", "setting 'workers': found '0'; expected greater than or equal to 1"),
        ("--set workers=two", "setting 'workers': found 'two'; expected a valid integer"),
        ("--set percentiles=[98,2]", "setting 'percentiles': found [98, 2]; expected two numbers"),
        ("--set ct_clip_hu=[500,-900]", "setting 'ct_clip_hu': found [500, -900]; expected two"),
        ("--set workers", "assignment: found 'workers'; expected key=value"),
        ("--config no.toml", "no.toml: found no readable file"),
    ],
)
def test_a_wrong_value_ends_with_2(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = error_of(capsys, "prepare", "scans", "-o", "store", *words.split())
    assert code == 2
    assert message.startswith(told)


@pytest.mark.parametrize("words", ["nosuchverb", "inspect --nosuchoption", "task -o x y"])
def test_words_that_no_command_knows_end_with_2(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: mass3d" in err
    assert "Traceback" not in err


def test_a_fault_in_one_scan_ends_with_1_after_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.nii.gz").write_text("no scan")
    assert run("inspect", folder, tmp_path, "--workers", "1", "-o", tmp_path / "out") == 1
    out = capsys.readouterr().out
    assert "Read 2 scans" in out
    assert "c: " in out
    written = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert [fault["where"] for fault in written["faults"]] == ["c"]


@pytest.mark.parametrize("verb", ["inspect", "prepare"])
def test_a_folder_without_scans_ends_with_1(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[str | Path] = [] if verb == "inspect" else ["-o", tmp_path / "store"]
    code, told = error_of(capsys, verb, tmp_path, *words)
    assert code == 1
    assert told.startswith(f"{tmp_path}: found no scan; expected ")
    assert not (tmp_path / "store").exists()


def test_a_fault_of_the_file_system_is_told_and_ends_with_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    assert run("inspect", folder, "--workers", "1", "-o", taken / "out") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"error: {taken / 'out' / 'config.toml'}: found not a directory; ")


def test_a_report_can_be_json_and_progress_quiet(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"no scan")
    assert run("inspect", folder, tmp_path, "--json", "--quiet") == 1
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert set(report) == {"verb", "ok", "summary", "faults"}
    assert (report["verb"], report["ok"]) == ("inspect", False)
    assert [fault["where"] for fault in report["faults"]] == ["broken"]
    assert told.err == ""
    assert run("inspect", folder, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["faults"] == []
    assert "inspect" in told.err  # progress
    assert run("inspect", tmp_path / "none", "--quiet") == 1
    assert "none" in capsys.readouterr().err  # errors are told all the same


def test_a_full_disk_is_told_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_execute", full)
    assert error_of(capsys, "inspect", "x") == (1, "No space left on device")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "pretrain"])
def test_of_several_processes_only_pretrain_begins(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in zip(SRUN, "0210", strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    code, told = error_of(capsys, verb, *verbs.VERBS[verb].example.split())
    assert "2 processes that srun started" in told
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_control_c_ends_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_execute", interrupted)
    assert run("inspect", "x") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("fault", [RuntimeError("ours"), OSError("no number")])
def test_a_mistake_of_ours_keeps_its_trace(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(cli, "_execute", broken)
    with pytest.raises(type(fault), match=str(fault)):
        cli.main(["inspect", "x"])


# --- the settings beside a result ----------------------------------------------------------------


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_written_settings_of_prepare_make_the_same_store_again(
    folder: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--spacing", "2.5", "--modality", "mr", "--set", "percentiles=[1, 99]"]
    assert run("prepare", folder, "-o", first, "--workers", "1", *words) == 0
    again: list[str | Path] = ["--config", first / "config.toml", "-o", second, "--workers", "1"]
    assert run("prepare", *again) == 0
    assert contents(second) == contents(first)
    found = resolve(config_of("prepare"), file=first / "config.toml", flags={"output": second})
    assert found.plain() | {"inputs": None} == {
        **build(config_of("prepare"), {"inputs": [folder], "output": second}).plain(),
        "inputs": None,
        "spacing_mm": 2.5,
        "modality": "mr",
        "percentiles": [1, 99],
    }


def test_the_written_settings_of_evaluate_give_the_same_scores_again(tmp_path: Path) -> None:
    source = Volume.from_array(np.zeros((4, 5, 6))).source
    for place, seed in (("found", 0), ("true", 1)):
        label = np.random.default_rng(seed).integers(0, 3, source.grid.shape)
        write_label(tmp_path / place / "a.nii.gz", label, source)
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--seed", "3", "--set", "structures={one=1}"]
    found, true = tmp_path / "found", tmp_path / "true"
    assert run("evaluate", found, true, "-o", first, *words) == 0
    assert run("evaluate", "--config", first / "config.toml", "-o", second) == 0
    assert contents(second) == contents(first)
    assert '"one"' in (second / "metrics.json").read_text()


def test_a_tiny_scan_is_inspected_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The same through the real entry point: report on stdout, nothing but progress on stderr."""
    (tmp_path / "a.nii").write_bytes(scans.nifti_bytes(scans.voxels()))
    done = process(
        "from mass3d.cli import main; main()", "inspect", str(tmp_path), "--workers", "1"
    )
    assert done.returncode == 0
    assert "Read 1 scan " in done.stdout
    assert done.stderr.splitlines() == ["inspect 1/1"]


# --- one row and one file per verb ---------------------------------------------------------------


def test_help_takes_less_than_half_a_second_of_work() -> None:
    code = (
        "import time; from mass3d.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('SECONDS', time.process_time())"
    )
    plain = "import time, pydantic, rich.console, typer; print('SECONDS', time.process_time())"
    seconds, least = (
        min(float(process(one, "--help").stdout.split("SECONDS")[1]) for _ in range(3))
        for one in (code, plain)
    )
    assert seconds < max(0.5, 1.5 * least)  # what it is built of is slow on a slow machine


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_meaning_default_range_and_what_is_required(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "-h") == 0
    text = " ".join(capsys.readouterr().out.split())
    for setting, typed in verbs.VERBS[verb].given.items():
        field = describe.field_of(config_of(verb), setting)
        assert all(name in text for name in verbs.names_of(typed)[0])
        for told in (describe.meaning_of(field), describe.default_words(field)):
            # lines may break at a dash
            assert told.replace(" ", "") in text.replace(" ", ""), (setting, told)
    assert text.count("Required.") >= sum(
        field.is_required() for field in config_of(verb).model_fields.values()
    )
    assert f"Example: mass3d {verb} {verbs.VERBS[verb].example}" in text


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_can_be_typed(verb: str, flags: dict[str, Any]) -> None:
    assert run(verb, *verbs.VERBS[verb].example.split()) == 0
    resolve(config_of(verb), flags=flags["flags"])


def test_a_shell_completes_verbs_options_and_choices(tmp_path: Path) -> None:
    def completed(words: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from mass3d.cli import main; main()"],
            env={
                **os.environ,
                "_MASS3D_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split(" ")) - 1),
                "_TYPER_COMPLETE_ARGS": words,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return set(done.stdout.split())

    assert completed("mass3d pre") == {"prepare", "pretrain"}
    assert {"--spacing", "--scheduler", "--set"} <= completed("mass3d prepare --s")
    assert completed("mass3d prepare scans --modality m") == {"mr"}


def test_letters_that_steer_a_terminal_are_shown_as_what_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, told = error_of(capsys, "inspect", "no\x1b[31msuch[red]")
    assert code == 1
    assert "\x1b" not in told
    assert told.startswith("no\\x1b[31msuch[red]: found no such file")
