from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path

import pytest

import mass3d
import scans
from mass3d.cli.verbs import VERBS
from mass3d.config import Config
from mass3d.errors import ConfigError, DataError, ModelError

# function of the package -> verb of the command line
FUNCTIONS = {
    "prepare": "prepare",
    "pretrain": "pretrain",
    "task": "task",
    "merge": "merge",
    "adapt": "adapt",
    "finetune": "finetune",
    "curve": "curve",
    "segment": "segment",
    "locate": "locate",
    "embed": "embed",
    "probe": "probe",
    "evaluate": "evaluate",
    "inspect": "inspect",
    "measure_masks": "masks",
    "check": "check",
    "extract": "extract",
    "show": "show",
    "export": "export",
    "serve": "serve",
    "demo": "demo",
}


# other names -> where they are
OTHERS = {
    "Volume": "mass3d.volume.volume:Volume",
    "read": "mass3d.io.read:volume_of",
    "read_label": "mass3d.io.read:label_of",
    "Store": "mass3d.store.reader:Store",
    "load": "mass3d.transfer.finetuned.segmenter:load_segmenter",
    "load_task": "mass3d.transfer.task_file:load_task",
    "save_task": "mass3d.transfer.task_file:save_task",
    **{
        name: f"mass3d.errors:{name}"
        for name in (
            "Mass3dError",
            "DataError",
            "StoreError",
            "ModelError",
            "OutputError",
            "ConfigError",
            "Interrupted",
        )
    },
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
    assert {row.function or verb: verb for verb, row in VERBS.items()} == FUNCTIONS


def test_the_package_shows_its_functions_and_nothing_else() -> None:
    assert {name for name in dir(mass3d) if not name.startswith("_")} == {*FUNCTIONS, *OTHERS}
    assert set(mass3d.__all__) == {*FUNCTIONS, *OTHERS}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_script_needs_is_there_under_its_name(name: str) -> None:
    module, _, attribute = OTHERS[name].partition(":")
    found = getattr(mass3d, name)
    expected = attrgetter(attribute)(import_module(module))
    assert found == expected


def test_the_version_is_that_of_the_package() -> None:
    assert mass3d.__version__ == version("mass3d")


# --- what type checkers see ----------------------------------------------------------------------


STUB = ast.parse(Path(mass3d.__file__).with_suffix(".pyi").read_text())


def stubbed() -> set[str]:
    """The public names that the stub defines or hands on."""
    found = set()
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found - {"__all__"}


def test_a_type_checker_sees_every_public_name_and_no_other() -> None:
    assert stubbed() == set(mass3d.__all__)


def test_no_type_is_left_open() -> None:
    assert "Any" not in {node.id for node in ast.walk(STUB) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_type_checker_sees_the_settings_of_a_function_and_which_are_required(name: str) -> None:
    (node,) = [n for n in STUB.body if isinstance(n, ast.FunctionDef) and n.name == name]
    fields = config_of(FUNCTIONS[name]).model_fields
    assert [argument.arg for argument in node.args.kwonlyargs] == list(fields)
    required = [default is None for default in node.args.kw_defaults]
    assert required == [field.is_required() for field in fields.values()]


def test_a_type_checker_refuses_a_wrong_setting_and_knows_the_report(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import mass3d\n"
        'report = mass3d.inspect(inputs=["scans"], modality="ct")\n'
        "reveal_type(report.spacing_mm)\n"
        "reveal_type(mass3d.read(mass3d.Store.open))\n"
        "mass3d.inspect(inputs=[1], workers='two', colour=3)\n"
    )
    source = str(Path(mass3d.__file__).parents[1])
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(script)]
    told = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": source},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert 'Revealed type is "float"' in told or "builtins.float" in told, told
    assert "mass3d.volume.volume.Volume" in told
    assert 'Unexpected keyword argument "colour"' in told
    assert 'Argument "workers"' in told


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
        getattr(mass3d, "segmnt")  # noqa: B009 - a type checker would see it
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


def test_the_container_is_made_of_what_there_is() -> None:
    root = Path(mass3d.__file__).parents[2]
    lines = (root / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    ignored = (root / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (root / name).exists(), name
        assert f"!{name.removeprefix('./')}" in ignored
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = re.search(r"'\.\[(.+)\]'", "\n".join(lines))
    assert extras is not None
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert project["scripts"]["mass3d"] == "mass3d.cli:main"
    python = next(line for line in lines if line.startswith("FROM ")).split(":")[1][:4]
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    assert {"README.md", "LICENSE", "src", "pyproject.toml"} <= set(copied)  # what a build needs
