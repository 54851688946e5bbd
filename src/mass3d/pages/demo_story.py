"""The story that the page of a demo tells: what was compared, what was found, how to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mass3d.inspection.case import CaseFacts
from mass3d.io.colours import value_colours
from mass3d.pages import demo_content as content
from mass3d.pages.demo import Method, ReportContent, weaknesses
from mass3d.pages.demo_content import CaseDice
from mass3d.pages.demo_idea import idea_pictures
from mass3d.store.reader import Store
from mass3d.training.log import read_rows
from mass3d.training.run_files import METRICS
from mass3d.transfer.cohort import Cohort as LabelledCohort

# How the structures are found: ours, then what it is to be compared with. Keys name folders.
METHODS: Final = {
    "run": Method("mass3d", "task and segment, as they are by default."),
    "affine": Method(
        "affine registration",
        "The baseline: the example is mapped onto each scan by an affine map. Nothing is learned.",
    ),
    "network": Method(
        "the network alone", "The pretrained network by itself: no alignment and no tuned head."
    ),
    "untrained": Method("the network alone, untrained", "The same network, randomly initialised."),
}


@dataclass(frozen=True)
class Course:
    """How the demo went: its settings, and what lies where."""

    folder: Path
    data: Path | None  # of the user; None for phantoms
    steps: int
    seed: int
    cohort: LabelledCohort
    facts: Mapping[str, CaseFacts]  # of the training scans
    unreadable: int


def told(course: Course, scored: Mapping[str, CaseDice]) -> ReportContent:
    """Fill the page from the folders of the demo. scored: by the keys of `METHODS`."""
    out, methods, ours = course.folder, tuple(METHODS.values()), scored["run"]
    cohort = course.cohort
    colours = value_colours(cohort.structures.values())
    named = {name: colours[value] for name, value in cohort.structures.items()}
    overall, structures = content.structure_scores(list(scored.values()), named, seed=course.seed)
    predictions = [
        (f"Found by {METHODS[key].name}", out / f"segmented-{key}", dice)
        for key, dice in scored.items()
    ]
    by_id = {case.case_id: case for case in cohort.test}
    store = Store.open(out / "store")
    notes = weaknesses(structures, overall, methods, cases=len(cohort.test))
    kinds = content.modality_note(cohort.reference, cohort.test, ours)
    phantoms = [] if course.data else [PHANTOM_NOTE]
    return ReportContent(
        source=_source(course),
        reference_id=cohort.reference.case_id,
        steps=course.steps,
        methods=methods,
        idea=idea_pictures(store, out / "run", seed=course.seed),
        overall=overall,
        structures=structures,
        cohort=content.cohort_table(course.facts, store, unreadable=course.unreadable),
        proposals=content.proposal_rows(store),
        proposals_note=PROPOSALS_NOTE,
        curve=tuple(read_rows(out / "run" / METRICS)),
        reference=content.reference_pictures(cohort.reference, cohort.structures),
        cases=tuple(
            content.shown_case(
                by_id[case_id],
                role=role,
                predictions=predictions,
                structures=cohort.structures,
                beside=out,
            )
            for role, case_id in content.median_worst_best(content.case_means(ours))
        ),
        notes=(*notes, *([kinds] if kinds else []), *phantoms),
        commands=COMMANDS,
        reference_volume=content.reference_volume(cohort.reference, cohort.structures, out),
    )


def _source(course: Course) -> str:
    cohort = course.cohort
    kind = "phantom scans, CT and MR," if course.data is None else f"scans of {course.data.name}"
    return (
        f"A small network studied {len(cohort.training)} {kind} that nobody had labelled. Then it "
        f"saw {', '.join(cohort.structures)} outlined in a single one of them, and looked for "
        f"them in {len(cohort.test)} scans it had never met."
    )


PHANTOM_NOTE = (
    "Phantoms are not patients. They show that every part works on this computer; they say nothing "
    "about any organ, scanner or disease."
)
PROPOSALS_NOTE = (
    "Regions that edges alone suggest, nested from organs down to details. They have no names and "
    "no label was read: they are only things to recognise again."
)
COMMANDS = (
    ("mass3d inspect scans/", "What is in the folder, and what is wrong with it."),
    ("mass3d prepare scans/ -o store/", "One grid, one intensity scale, and masks for each scan."),
    ("mass3d pretrain store/ -o run/", "Learn from them. Longer is better: --steps 10000."),
    (
        "mass3d task -i a.nii.gz -l a_label.nii.gz -m run/ -o mine.task",
        "Show one labelled scan, or several.",
    ),
    ("mass3d segment new_scans/ --task mine.task -o found/", "Find the same in all others."),
)
