"""What every verb ends with: faults, a report, and a record of the settings beside its results."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ConfigDict
from rich.console import Console
from rich.text import Text

from mass3d.config import Config, to_toml
from mass3d.errors import printable
from mass3d.execution.faults import Fault
from mass3d.execution.ownership import earlier_record
from mass3d.execution.progress import MAX_SENTENCES
from mass3d.files import file_hash, run_record, text_bytes, write_bytes, write_json, write_text
from mass3d.io.left_out import LeftOut

SHOWN = 3  # cases that a summary tells in words; case.json has all
PAGE = "page_sha256"  # in a record, of the page that people are asked to complete
PLACES = ("output", "workers", "scheduler")  # where and how fast results come, not what they are


class Report:
    """The base of all reports: frozen dataclasses whose `faults` decide the exit code."""

    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for was done."""
        return not self.faults

    def summary(self) -> str:
        """One paragraph for people."""
        raise NotImplementedError

    def outcome(self) -> dict[str, object]:
        """For programs: whether all was done, the summary, and every fault."""
        faults = [fault.plain() for fault in self.faults]
        return {"ok": self.ok, "summary": self.summary(), "faults": faults}

    def show(self, console: Console) -> None:
        """The summary, then every fault on a line of its own."""
        whole = not console.is_terminal  # a file or a pipe has no edge at which to break lines
        console.print(printable(self.summary()), highlight=False, markup=False, soft_wrap=whole)
        for fault in self.faults:
            line = Text(f"  {printable(fault.where)}: ", style="bold red")
            line.append(printable(fault.message), "")
            console.print(line, soft_wrap=whole)


def counted(number: int, thing: str) -> str:
    """1 fault, 2 faults."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str]) -> str:
    """The first of the cases, and whether there are more: a, b, c, ..."""
    return ", ".join([*names[:SHOWN], *["..."][: len(names) > SHOWN]])


def in_short(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The first of what was noted of cases: see `by_sentence`."""
    return few(by_sentence(notes))


def by_sentence(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What was noted of cases, each sentence once with the first of its cases.

    notes: case -> sentences.
    """
    cases: dict[str, list[str]] = {}
    for name, sentences in notes.items():
        for sentence in sentences:
            cases.setdefault(sentence, []).append(name)
    return (f"{first_of(names)}: {sentence}" for sentence, names in cases.items())


def few(sentences: Iterable[str]) -> Iterator[str]:
    """The first of some sentences, and how many more there are."""
    told = list(sentences)
    yield from told[:MAX_SENTENCES]
    if len(told) > MAX_SENTENCES:
        more = counted(len(told) - MAX_SENTENCES, "sentence")
        yield f"and {more} of this kind more in the record"


def warnings_told(warnings: Iterable[str]) -> str:
    """Each warning as a sentence, to be put behind another one; or nothing."""
    return "".join(f" Warning: {warning}." for warning in warnings)


def left_out_sentence(left_out: Iterable[LeftOut]) -> str:
    """How many files are part of no scan and why, with an example for each reason; or nothing."""
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for entry in left_out:
        counts[entry.reason] += entry.files
        example.setdefault(entry.reason, entry.path.name)
    told = ", ".join(f"{n} x {reason} ({example[reason]})" for reason, n in counts.most_common())
    return f" Left out {counted(counts.total(), 'file')}: {told}." if counts else ""


def repairs_sentence(repairs: Mapping[str, Sequence[str]]) -> str:
    """How many scans were repaired on reading, and the first of them in words; or nothing."""
    return cases_sentence("Repaired {}", "scan", repairs)


def cases_sentence(what: str, thing: str, sentences: Mapping[str, Sequence[str]]) -> str:
    """What was found, {} being how many things, and the first of them in words; or nothing."""
    told = [f"{name}: {'; '.join(found)}" for name, found in sentences.items() if found]
    more = " ..." if len(told) > SHOWN else ""
    return (
        f" {what.format(counted(len(told), thing))} ({'. '.join(told[:SHOWN])}{more})."
        if told
        else ""
    )


def write_provenance(folder: Path, verb: str, config: Config, **facts: object) -> None:
    """Write config.toml (readable by `--config`) and record.json into the folder of a result.

    The output place and who does the work are left out: they do not change a result, and
    equal results should be equal byte for byte wherever they lie.
    """
    settings = _Settings.model_validate(
        {key: value for key, value in config.plain().items() if key not in PLACES}
    )
    write_text(folder / "config.toml", to_toml(settings, following=config.following()))
    write_json(folder / "record.json", run_record(verb, settings.plain(), **facts))


def write_readme(file: Path, text: str, *, verb: str, config: Config, **facts: object) -> Path:
    """`write_provenance`, and a page that people are asked to complete; returns where it is.

    The record keeps its SHA-256. A page that is not as the last record has it holds what somebody
    has written: it stays, and the new one lies beside it.
    """
    content = text_bytes(text)
    digest = hashlib.sha256(content).hexdigest()
    ours = (earlier_record(file.parent).get(PAGE), digest)
    completed = file.is_file() and file_hash(file) not in ours
    page = file.with_suffix(f".new{file.suffix}") if completed else file
    write_provenance(file.parent, verb, config, **facts, **{PAGE: digest})
    write_bytes(page, content)
    return page


def readme_told(file: Path, page: Path | None) -> str:
    """That a page of `write_readme` lies beside the one that people have completed; or nothing."""
    told = f" {file.name} is not as it was written here and stays; the new one is {page}."
    return "" if page in (None, file) else told


class _Settings(Config):
    model_config = ConfigDict(extra="allow")
