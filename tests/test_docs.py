"""What the documentation says about the command line and other files is true."""

import ast
import doctest
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import mass3d
from mass3d import cli
from mass3d.cli.verbs import VERBS
from mass3d.config import Config, resolve

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "build" for part in page.relative_to(ROOT).parts)
)
COMMANDS: dict[str, Any] = vars(typer.main.get_command(cli.build_app(*VERBS)))["commands"]
REFERENCE = ROOT / "docs" / "reference" / "commands.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def options(verb: str) -> set[str]:
    """All names of the options of a verb."""
    found = {name for p in COMMANDS[verb].params for name in p.opts if name.startswith("-")}
    return found | {"-h", "--help"}


def section(verb: str) -> str:
    """What the reference says about one verb."""
    found = re.search(rf"^## {verb}\n(.*?)(?=^#|\Z)", REFERENCE.read_text(), re.DOTALL | re.M)
    assert found, f"no section '## {verb}' in {REFERENCE.name}"
    return found.group(1)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.M)


def anchors(page: Path) -> set[str]:
    """The names that headings can be linked by."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def typed(page: Path) -> Iterator[list[str]]:
    """Every `mass3d VERB ...` of the page's code, in words."""
    text = page.read_text().replace("\\\n", " ")
    fenced = "\n".join(re.findall(r"^```.*?\n(.*?)^```$", text, re.DOTALL | re.M))
    indented = "\n".join(re.findall(r"^ {4}(.*)$", text, re.M))
    lines = [*fenced.splitlines(), *indented.splitlines(), *re.findall(r"`([^`\n]+)`", text)]
    for line in lines:
        words = re.match(r"(?:\.venv/bin/)?(mass3d [^;|]+)", line.strip())
        if words:
            yield shlex.split(words.group(1), comments=True)


def required(kind: type[Config]) -> dict[str, Any]:
    return {
        name: ["x"] if "tuple" in str(field.annotation) else "x"
        for name, field in kind.model_fields.items()
        if field.is_required()
    }


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_reference_names_every_option_and_setting_of_a_verb(verb: str) -> None:
    text = section(verb)
    common = {"--config", "--set", "--quiet", "--json", "-h", "--help"}
    missing = {name for name in options(verb) - common if f"`{name}`" not in text}
    assert not missing, f"{verb}: {missing}"
    kind = getattr(import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
    unnamed = {name for name in kind.model_fields if not re.search(rf"`{name}[`.]", text)}
    assert not unnamed, f"{verb}: settings {unnamed}"


def test_the_reference_names_no_verb_that_is_not_there() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]", REFERENCE.read_text(), re.M)
    assert listed == list(COMMANDS)


def test_the_page_for_programs_has_a_section_for_every_verb_with_its_command() -> None:
    text = (ROOT / "AGENTS.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.M))
    assert sections.keys() == COMMANDS.keys()
    for verb, told in sections.items():
        assert f"\n    mass3d {verb} " in told, verb
        assert re.search(r"^In: .*Out: ", told, re.M), verb


def test_the_changelog_tells_added_changed_fixed_and_broken_apart() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    for version in re.split(r"^## ", text, flags=re.M)[1:]:
        kinds = re.findall(r"^### (.+)$", version, re.M)
        assert kinds == [k for k in ("Added", "Changed", "Fixed", "Broken") if k in kinds], kinds


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == project["version"]
    assert cited["license"] == project["license"]
    assert cited["preferred-citation"]["url"] == project["urls"]["Method"]


def test_hooks_before_a_commit_run_what_the_gate_runs_and_fetch_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    gate = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    hooks = config["repos"][0]["hooks"]
    assert all(hook["language"] == "system" for hook in hooks)
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in hooks]
    assert all(entry in gate for entry in entries if "python" not in entry)


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_a_form_for_issues_has_what_its_kind_needs(form: Path) -> None:
    told = yaml.safe_load(form.read_text())
    if form.stem != "config":
        assert told.keys() >= {"name", "description", "body"}
        assert any(part.get("validations", {}).get("required") for part in told["body"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    folders = "src|tests|docs|experiments|benchmarks|examples|configs|tools"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_can_be_typed(page: Path) -> None:
    for command in typed(page):
        verb = command[1]
        if verb in ("VERB", "--version", "--help"):
            continue
        assert verb in COMMANDS, f"{shlex.join(command)}: no such verb"
        given = {word.split("=")[0] for word in command[2:] if re.match(r"--?[a-z]", word)}
        assert given <= options(verb), f"{shlex.join(command)}: {given - options(verb)}"
        assignments = [b for a, b in pairwise(command) if a == "--set"]
        if "KEY=VALUE" not in assignments:
            kind = getattr(import_module(f"mass3d.apps.{verb}"), f"{verb.capitalize()}Config")
            resolve(kind, assignments=assignments, flags=required(kind))


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(work|home|root|Users)/", page.read_text()), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_session_on_a_page_gives_what_it_shows(page: Path) -> None:
    blocks = re.findall(r"^```python\n(>>> .*?)^```$", page.read_text(), re.DOTALL | re.M)
    test = doctest.DocTestParser().get_doctest("".join(blocks), {}, page.name, str(page), 0)
    told: list[str] = []
    doctest.DocTestRunner().run(test, out=told.append)
    assert not told, "".join(told)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_a_page_is_valid_and_imports_what_is_there(page: Path) -> None:
    for block in re.findall(r"^```python\n(?!>>>)(.*?)^```$", page.read_text(), re.DOTALL | re.M):
        tree = ast.parse(block)
        imports: list[ast.stmt] = [
            n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mass3d":
                assert node.attr in dir(mass3d) or importlib.util.find_spec(f"mass3d.{node.attr}")
