"""The rules of CONTRIBUTING.md about who may import whom, read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mass3d

SOURCE = Path(mass3d.__file__).parent

# A room imports only from rooms to its left.
LINE = (
    "volume",
    "io",
    "phantom",
    "device",
    "hub",
    "alignment",
    "masks",
    "store",
    "execution",
    "inspection",
    "views",
    "model",
    "objective",
    "training",
    "pretext",
    "metrics",
    "transfer",
    "pages",
    "server",
    "apps",
    "cli",
)
EVERYWHERE = {"errors", "config", "files"}  # in this order among themselves: config sees errors
MEDICAL = {"volume", "io", "masks", "store", "views", "inspection"}
NOT_MEDICAL = ("model", "objective", "training")
WITHOUT_TORCH = (
    "errors",
    "config",
    "files",
    "cli",
    "volume",
    "io",
    "masks",
    "store",
    "inspection",
    "metrics",
    "server",
)
# The modules of these rooms that are imported only when the engine that needs a network runs.
WITH_TORCH = {f"mass3d.masks.sam2.{name}" for name in ("network", "automatic", "propagate")}

# A verb imports only from those before it.
APPS = (
    "prepare",
    "inspect",
    "masks",
    "check",
    "extract",
    "pretrain",
    "task",
    "merge",
    "adapt",
    "finetune",
    "export",
    "curve",
    "segment",
    "locate",
    "embed",
    "probe",
    "evaluate",
    "show",
    "serve",
    "demo",
)
# Verbs whose workers are processes of their own: torch would cost each of them 200 MB.
APPS_WITHOUT_TORCH = ("prepare", "inspect", "masks", "check", "extract", "evaluate", "serve")
# Verbs that train a network for long, and so load what only that needs: a second and a half.
APPS_THAT_FIT = ("pretrain", "finetune", "curve", "demo")

# library -> the only room that knows it
OWNERS = {
    "nibabel": {"io", "volume"},  # a volume saves itself
    "SimpleITK": {"io"},
    "pydicom": {"io"},
    "highdicom": {"io"},
    "higra": {"masks"},
    "transformers": {"masks"},
    "huggingface_hub": {"masks", "hub"},
    "blosc2": {"store"},
    "lightning_fabric": {"training"},
    "typer": {"cli"},
    "sklearn": {"transfer"},
    "onnx": {"transfer"},
    "onnxruntime": {"transfer"},
    "dask": {"execution"},
    "distributed": {"execution"},
    "jinja2": {"pages"},
    "matplotlib": {"pages"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "uvicorn": {"server"},
    "anyio": {"server"},
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("mass3d", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imported(path: Path) -> set[str]:
    """What a file imports, anywhere in it; modules, or names in them where those are no modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    """mass3d.io.read -> io; mass3d itself has none."""
    return module.split(".")[1] if "." in module else ""


def rooms_seen_by(module: str) -> set[str]:
    """Other rooms that a module imports from."""
    ours = (name for name in IMPORTS[module] if name.split(".")[0] == "mass3d")
    return {room(name) for name in ours} - {room(module)}


def reached_from(module: str) -> set[str]:
    """Modules of the package that importing one brings in, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in MODULES and name not in found:
            found.add(name)
            waiting += IMPORTS[name]
    return found


def in_room(name: str) -> list[str]:
    return [module for module in MODULES if room(module) == name]


def test_every_module_is_in_a_known_room() -> None:
    known = {*LINE, *EVERYWHERE, "", "__main__"}
    assert {room(module) for module in MODULES} == known


@pytest.mark.parametrize("name", LINE)
def test_a_room_imports_only_from_rooms_to_its_left(name: str) -> None:
    allowed = {*LINE[: LINE.index(name)], *EVERYWHERE}
    for module in in_room(name):
        assert rooms_seen_by(module) <= allowed, module


def test_what_everyone_imports_imports_no_room() -> None:
    assert rooms_seen_by("mass3d.errors") == set()
    assert rooms_seen_by("mass3d.config") <= {"errors"}
    assert rooms_seen_by("mass3d.files") <= {"errors"}


def test_metrics_know_nothing_but_arrays() -> None:
    for module in in_room("metrics"):
        assert rooms_seen_by(module) <= {"volume", *EVERYWHERE}, module


def test_a_store_knows_layers_and_settings_but_no_engine() -> None:
    known = {f"mass3d.masks.{name}" for name in ("layers", "table", "settings")}
    for module in in_room("store"):
        seen = {name for name in IMPORTS[module] if name.startswith("mass3d.masks")}
        assert seen <= known, module


def test_the_package_itself_imports_only_what_a_function_needs_when_it_is_called() -> None:
    top = ast.parse((SOURCE / "__init__.py").read_text()).body
    modules = {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
    assert modules <= {"__future__", "collections.abc", "typing"}
    assert not any(isinstance(node, ast.Import) for node in top)


@pytest.mark.parametrize("name", NOT_MEDICAL)
def test_network_loss_and_loop_know_nothing_medical(name: str) -> None:
    for module in in_room(name):
        rooms = {room(reached) for reached in reached_from(module)}
        assert not rooms & MEDICAL, module


def test_masks_cannot_see_a_label() -> None:
    """Proposals that knew labels would make every number of the method worthless."""
    for module in in_room("masks"):
        rooms = {room(reached) for reached in reached_from(module)}
        assert "io" not in rooms, module
        text = MODULES[module].read_text()
        for word in ("read_label", "find_label", "read_structures", "prepare_label"):
            assert word not in text, module


def test_apps_import_only_apps_before_them() -> None:
    found = {module.split(".")[2] for module in in_room("apps") if module.count(".") == 2}
    assert found == set(APPS)
    for position, app in enumerate(APPS):
        seen = {name for name in IMPORTS[f"mass3d.apps.{app}"] if name.startswith("mass3d.apps.")}
        assert seen <= {f"mass3d.apps.{before}" for before in APPS[:position]}, app


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: {other for other in IMPORTS[name] if other in MODULES} for name in MODULES}
    del graph["mass3d"]  # it imports within functions only
    for name, others in graph.items():
        graph[name] = others - {"mass3d"}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_known_to_the_room_that_needs_it_only(library: str) -> None:
    users = {
        room(module)
        for module, names in IMPORTS.items()
        if any(name.split(".")[0] == library for name in names)
    }
    assert users == OWNERS[library]


def first_that_loads(libraries: set[str], groups: dict[str, list[str]]) -> str:
    """The first group of modules after whose import, in a fresh process, one of them is there."""
    code = f"""
import importlib, sys
for name, modules in {groups!r}.items():
    for module in modules:
        importlib.import_module(module)
    if {libraries!r} & sys.modules.keys():
        sys.exit(print(name))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_rooms_that_do_without_torch_and_verbs_of_many_processes_do_not_load_it() -> None:
    groups = {
        name: [module for module in in_room(name) if module not in WITH_TORCH]
        for name in WITHOUT_TORCH
    }
    groups |= {f"apps.{app}": [f"mass3d.apps.{app}"] for app in APPS_WITHOUT_TORCH}
    assert first_that_loads({"torch", "lightning_fabric"}, groups) == ""
    assert first_that_loads({"nibabel"}, {"volume": in_room("volume"), "io": in_room("io")}) == "io"


def test_verbs_that_do_not_fit_a_network_load_nothing_that_only_fitting_needs() -> None:
    others = [app for app in APPS if app not in APPS_THAT_FIT]
    groups = {app: [f"mass3d.apps.{app}"] for app in others}
    heavy = {"lightning_fabric", "torch.distributed.fsdp", "torch._dynamo", "sympy"}
    assert first_that_loads(heavy, groups) == ""
    assert first_that_loads(heavy, {"finetune": ["mass3d.apps.finetune"]}) == "finetune"


def test_the_engines_library_is_loaded_only_where_a_network_is_built() -> None:
    users = {module for module, names in IMPORTS.items() if "transformers" in names}
    assert users == {"mass3d.masks.sam2.network"}
    assert first_that_loads({"transformers"}, {"masks": in_room("masks")}) == ""


def test_network_loss_and_loop_load_no_reader_of_files() -> None:
    groups = {name: in_room(name) for name in NOT_MEDICAL}
    assert first_that_loads({"nibabel", "SimpleITK", "higra", "blosc2", "skimage"}, groups) == ""
