"""The verbs of the command line: what each is called, in a sentence, and how settings are given.

A verb is one file in `apps` and one row here. Everything else that is said about a setting
(meaning, default, allowed values, whether it is required) is read off its field in the `Config`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Verb(NamedTuple):
    """A row: how a verb is told, and typed."""

    meaning: str  # one sentence
    example: str  # what follows `mass3d VERB` in a typical call
    given: dict[str, str]  # setting -> how it is typed: names, then what stands for its value
    function: str = ""  # its name in Python, where that is another one
    shared: bool = False  # several processes may do it together


# Words without a dash are given by their place. An option whose value ends with ... takes several.
PARALLEL: Final = {"workers": "--workers N", "scheduler": "--scheduler ADDRESS"}
SEED: Final = {"seed": "--seed N"}
DEVICE: Final = {"device": "--device DEVICE"}
MODALITY: Final = {"modality": "--modality KIND"}
MASKS: Final = {
    "masks.engines": "--engine ENGINE",
    "masks.external.folders": "--masks FOLDER",
    "masks.sam2.checkpoint": "--checkpoint PATH|ID",
}

VERBS: Final = {
    "prepare": Verb(
        "Turn scans into a store of prepared cases with proposed masks.",
        "scans/ -o store/",
        {
            "inputs": "SCANS...",
            "output": "-o --output STORE",
            "spacing_mm": "--spacing MM|auto",
            **MODALITY,
            **MASKS,
            **PARALLEL,
        },
    ),
    "pretrain": Verb(
        "Pretrain a network on one or several stores, without labels.",
        "store/ -o run/ --steps 10000",
        {
            "store": "STORE...",
            "output": "-o --output RUN",
            "preset": "--preset NAME",
            "objective": "--objective NAME",
            "resenc.plans": "--plans FILE",
            "resenc.init": "--init FILE",
            "fit.steps": "--steps N",
            "validation.dataset": "--validate DATASET",
            **SEED,
            "resume": "--resume",
            **DEVICE,
        },
        shared=True,
    ),
    "task": Verb(
        "Make a task from labelled examples: what to segment.",
        "-i a.nii.gz -l a_label.nii.gz -m run/ -o liver.task",
        {
            "images": "-i --images SCAN...",
            "labels": "-l --labels LABEL...",
            "model": "-m --model RUN",
            "output": "-o --output X.task",
            "tune": "--tune 0|1",
            "license": "--license TEXT",
            **DEVICE,
        },
    ),
    "merge": Verb(
        "Merge tasks of the same model into one task.",
        "liver.task spleen.task -o organs.task",
        {"tasks": "TASK...", "output": "-o --output X.task"},
    ),
    "adapt": Verb(
        "Adapt a task to unlabelled scans, for the structures that gain from it.",
        "scans/ --task liver.task -o adapted.task",
        {
            "inputs": "SCANS...",
            "task": "-t --task X.task",
            "output": "-o --output Y.task",
            "model": "-m --model RUN",
            **DEVICE,
        },
    ),
    "finetune": Verb(
        "Finetune a pretrained network with labels.",
        "-i dataset/ -m run/ -o tuned/ --labels 5",
        {
            "images": "-i --images SCANS...",
            "label_maps": "-l --label-maps LABELS...",
            "model": "-m --model RUN",
            "output": "-o --output RUN",
            "labels": "--labels N|N%|all",
            "unlabelled": "-u --unlabelled SCANS...",
            "start": "--start START",
            "fit.steps": "--steps N",
            **SEED,
            "resume": "--resume",
            **DEVICE,
        },
    ),
    "curve": Verb(
        "Compare starts of finetuning at increasing numbers of labels.",
        "dataset/ -m run/ -o curve/ --labels 1,5,20%,all --against scratch,other/",
        {
            "dataset": "DATASET",
            "model": "-m --model RUN",
            "output": "-o --output FOLDER",
            "labels": "--labels N,N%,all",
            "draws": "--draws N",
            "against": "--against scratch,RUN",
            "fit.steps": "--steps N",
            **SEED,
            **DEVICE,
        },
    ),
    "segment": Verb(
        "Segment scans with a task or a finetuned model, each on its own grid.",
        "scans/ --task liver.task -o found/",
        {
            "inputs": "SCANS...",
            "task": "-t --task X.task",
            "output": "-o --output FOLDER",
            "model": "-m --model RUN",
            "prior": "--prior LABEL|FOLDER",
            "references": "--references N|all",
            "probabilities": "--probabilities",
            "agreement": "--agreement",
            "dicom_seg": "--dicom-seg",
            **DEVICE,
        },
    ),
    "locate": Verb(
        "Locate the structures of a task: boxes with a confidence.",
        "scans/ --task liver.task -o located/",
        {
            "inputs": "SCANS...",
            "task": "-t --task X.task",
            "output": "-o --output FOLDER",
            "model": "-m --model RUN",
            **DEVICE,
        },
    ),
    "embed": Verb(
        "Compute features of scans with a pretrained network, one row each.",
        "scans/ -m run/ -o embedded/",
        {
            "inputs": "SCANS...",
            "model": "-m --model RUN",
            "output": "-o --output FOLDER",
            "dense": "--dense",
            "untrained": "--untrained",
            **DEVICE,
        },
    ),
    "probe": Verb(
        "Predict labels of scans from frozen features, by cross-validation.",
        "scans/ --labels labels.csv -m run/ -o probed/",
        {
            "inputs": "SCANS...",
            "labels": "-l --labels CSV",
            "model": "-m --model RUN",
            "output": "-o --output FOLDER",
            "targets": "--target COLUMN...",
            "patient_column": "--patient COLUMN",
            "within": "--within X.task",
            "structure": "--structure NAME",
            "folds": "--folds N",
            **SEED,
            **DEVICE,
        },
    ),
    "evaluate": Verb(
        "Score segmentations against label maps.",
        "found/ labels/ -o scores/",
        {
            "predictions": "PREDICTIONS",
            "labels": "LABELS",
            "output": "-o --output FOLDER",
            "surface": "--surface",
            "tolerance_mm": "--tolerance MM",
            "lesions": "--lesions",
            "against": "--against FOLDER",
            **SEED,
            **PARALLEL,
        },
    ),
    "inspect": Verb(
        "Describe the scans of a folder and report what is wrong with them.",
        "scans/ -o inspected/",
        {"inputs": "SCANS...", "output": "-o --output FOLDER", **MODALITY, **PARALLEL},
    ),
    "masks": Verb(
        "Measure the masks of a store, or propose new ones.",
        "store/ --engine hierarchy",
        {
            "store": "STORE",
            **MASKS,
            "add": "--add",
            "labels": "--labels FOLDER",
            "output": "-o --output FOLDER",
            **PARALLEL,
        },
        function="measure_masks",
    ),
    "check": Verb(
        "Verify every byte of a store, and its content.",
        "store/",
        {"store": "STORE...", **PARALLEL},
    ),
    "extract": Verb(
        "Write cases of a store as NIfTI, each on the grid of its scan.",
        "store/ -o extracted/ --case ct_001 ct_002",
        {
            "input": "STORE",
            "output": "-o --output FOLDER",
            "case": "--case ID...",
            "mask": "--mask ROW...",
            **PARALLEL,
        },
    ),
    "show": Verb(
        "Describe a task file, a model or a store.",
        "liver.task --json",
        {"paths": "FILE|FOLDER...", "as_json": "--json"},
    ),
    "export": Verb(
        "Write a model as a folder to share, or results as a dataset to train on.",
        "run/ -o shared/ --license cc-by-4.0",
        {
            "model": "RUN|RESULTS",
            "output": "-o --output FOLDER",
            "title": "--title TEXT",
            "license": "--license TERMS",
            "data": "--data TEXT",
            "to": "--to KIND",
            "plans": "--plans FILE",
            "raw.scans": "--scans SCANS...",
            "raw.true_labels": "--true-labels FOLDER",
            "raw.images": "--images link|copy",
            "raw.min_agreement": "--min-agreement DICE",
        },
    ),
    "serve": Verb(
        "Open a local page: draw one example, segment the other scans, correct.",
        "run/ scans/ -o project/",
        {
            "model": "RUN",
            "inputs": "SCANS...",
            "output": "-o --output PROJECT",
            "port": "--port N",
            "host": "--host ADDRESS",
            "links": "--links",
            "tune": "--tune 0|1",
            **DEVICE,
        },
    ),
    "demo": Verb(
        "Run every step on phantoms and write a page about it.",
        "-o demo/",
        {
            "output": "-o --output FOLDER",
            "data": "--data FOLDER",
            "steps": "--steps N",
            **SEED,
        },
    ),
}


def names_of(typed: str) -> tuple[list[str], str]:
    """The names of an option, none for what is given by its place, and what stands for its value.

    "-o --output RUN" -> ["-o", "--output"], "RUN"; a flag has no value: "--add" -> ["--add"], "".
    """
    words = typed.split()
    names = [word for word in words if word.startswith("-")]
    return names, " ".join(words[len(names) :])


def takes_several(verb: str) -> set[str]:
    """Names of the options of a verb that take several values one after the other."""
    given = VERBS[verb].given.values() if verb in VERBS else ()
    split = (names_of(typed) for typed in given)
    return {name for names, value in split if value.endswith("...") for name in names}
