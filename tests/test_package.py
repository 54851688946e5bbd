from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mass3d
import scans
from mass3d import cli
from mass3d.config import Config
from mass3d.errors import ConfigError, DataError, ModelError

# function of the package -> verb of the command line
FUNCTIONS = {
    "prepare": "prepare",
    "pretrain": "pretrain",
    "task": "task",
    "segment": "segment",
    "evaluate": "evaluate",
    "inspect": "inspect",
    "measure_masks": "masks",
    "check": "check",
    "extract": "extract",
    "demo": "demo",
}


def config_of(verb: str) -> type[Config]:
    kind = getattr(import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
    assert issubclass(kind, Config)
    return kind


def run_python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_every_verb_of_the_command_line_is_a_function() -> None:
    verbs = {
        command.callback.__name__ for command in cli.app.registered_commands if command.callback
    }
    assert set(FUNCTIONS.values()) == verbs


def test_the_package_shows_its_functions_and_nothing_else() -> None:
    assert {name for name in dir(mass3d) if not name.startswith("_")} == {*FUNCTIONS, "load"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_the_settings_of_its_verb_by_keyword(name: str) -> None:
    function = getattr(mass3d, name)
    kind = config_of(FUNCTIONS[name])
    parameters = inspect.signature(function).parameters
    assert set(parameters) == set(kind.model_fields)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    required = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required == {n for n, f in kind.model_fields.items() if f.is_required()}
    assert function.__name__ == function.__qualname__ == name
    assert function.__doc__ == import_module(f"mass3d.apps.{FUNCTIONS[name]}").run.__doc__
    with pytest.raises(TypeError):
        function("positional")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_setting_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(ConfigError, match="an unknown key"):
        getattr(mass3d, name)(no_such_setting=1)


def test_a_function_does_the_work_of_its_verb_and_returns_its_report(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(scans.nifti_bytes(scans.voxels()))
    report = mass3d.inspect(inputs=[tmp_path], output=tmp_path / "out", workers=1)
    assert report.ok
    assert report.cases["a"].shape == scans.SHAPE[::-1]
    written = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert written["cases"]["a"]["shape"] == list(scans.SHAPE[::-1])


def test_a_fault_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan"):
        mass3d.inspect(inputs=[tmp_path])


def test_load_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        mass3d.load(tmp_path)


def test_a_name_that_is_not_there_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mass3d' has no attribute 'segmnt'"):
        _ = mass3d.segmnt
    assert not hasattr(mass3d, "segmnt")


def test_importing_the_package_does_nothing(tmp_path: Path) -> None:
    """No library, no look at the environment, no file, no output, no handler, no thread."""
    code = """
import builtins, logging, os, random, sys, threading, warnings
class Env(dict):
    def __getattribute__(self, name):
        raise SystemExit(f"read the environment: {name}")
before = set(sys.modules)
state, filters, handlers = random.getstate(), list(warnings.filters), list(logging.root.handlers)
real, os.environ = os.environ, Env()
import mass3d
os.environ = real
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
assert new == {"mass3d"}, new
assert random.getstate() == state and warnings.filters == filters
assert logging.root.handlers == handlers and threading.active_count() == 1
assert set(sys.modules) - before >= {"mass3d"} and "mass3d.apps" not in sys.modules
"""
    done = run_python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_settings_may_be_given_as_objects_or_as_plain_values(tmp_path: Path) -> None:
    engines = import_module("mass3d.masks.engines")
    default = engines.MaskConfig()
    for masks in (default, default.plain()):
        with pytest.raises(DataError, match="no scan"):
            mass3d.prepare(inputs=(tmp_path,), output=tmp_path / "store", masks=masks)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(mass3d.__file__).parent / "py.typed").is_file()


def test_help_shows_settings_with_their_defaults_and_the_report() -> None:
    shown = inspect.signature(mass3d.inspect)
    assert shown.parameters["modality"].default == "auto"
    assert shown.return_annotation == "InspectReport"
