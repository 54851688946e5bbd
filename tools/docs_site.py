"""Hook of mkdocs: gather the pages of the repository, and write those of the API.

Pages link to each other and to files of the repository. So pages, and the files that they link to,
are laid out for mkdocs in a folder `pages` beside the site, as they lie in the repository; a link
to a folder leads to a page that lists it. mkdocs then checks every link.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "mass3d"
PAGES = ("*.md", "docs/**/*.md", "experiments/*.md", "benchmarks/*.md")
LISTED = ("configs", "examples")  # folders that the navigation shows
LINK = re.compile(r"\]\(([^)\s#]+)([^)\s]*)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Called by mkdocs before it looks for pages: gather them, and complete the navigation."""
    folder = Path(config.site_dir).with_name("pages")
    shutil.rmtree(folder, ignore_errors=True)
    gather(folder)
    config.docs_dir = str(folder)
    config.nav = [*(config.nav or []), {"Python": write_api(folder / "api")}]
    return config


def gather(folder: Path) -> None:
    """Copy pages with what they link to, and list the folders."""
    for pattern in PAGES:
        for page in ROOT.glob(pattern):
            text, linked = page_for_site(page)
            write(folder / page.relative_to(ROOT), text)
            for target in linked:
                place = folder / target.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(target, place)
    for name in LISTED:
        list_folder(ROOT / name, folder / name)


def page_for_site(page: Path) -> tuple[str, list[Path]]:
    """The page, with links to folders led to their lists, and the other files it links to."""
    linked = []

    def led(found: re.Match[str]) -> str:
        target = (page.parent / found[1]).resolve()
        if target.is_dir():
            return f"]({os.path.relpath(target, page.parent)}/index.md{found[2]})"
        if target.is_file() and target.suffix != ".md":
            linked.append(target)
        return found[0]

    return LINK.sub(led, page.read_text()), linked


def list_folder(source: Path, place: Path) -> None:
    """A page that lists the files of a folder, each with its first line, and the files."""
    lines = [f"# {source.name}/", ""]
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        lines.append(f"- [{file.name}]({file.name}): {first_line(file)}")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file.name)
    write(place / "index.md", "\n".join(lines) + "\n")


def first_line(file: Path) -> str:
    """What a file says of itself first."""
    text = file.read_text()
    if file.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return text.partition("\n")[0].removeprefix("# ").partition(";")[0]


def write_api(folder: Path) -> list[Any]:
    """One page per room, from the docstrings; returns their part of the navigation."""
    write(folder / "index.md", "# mass3d\n\n::: mass3d\n    options: {heading_level: 2}\n")
    pages: list[Any] = ["api/index.md"]
    for name, modules in rooms():
        body = "\n".join(f"::: {module}\n" for module in modules)
        write(folder / f"{name}.md", f"# mass3d.{name}\n\n{body}")
        pages.append({name: f"api/{name}.md"})
    return pages


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Each room with its public modules that have something to show."""
    for path in sorted(SOURCE.iterdir()):
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        modules = [
            ".".join(("mass3d", *file.relative_to(SOURCE).with_suffix("").parts))
            for file in files
            if file.suffix == ".py" and not file.name.startswith("_")
        ]
        if modules:
            yield path.stem, modules


def write(path: Path, text: str) -> None:
    """Write a page into a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
