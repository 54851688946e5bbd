"""Propose masks in a process of its own, to be killed: checkpoint, scan (.npy), work folder."""

import sys
from pathlib import Path

import numpy as np

from mass3d.masks.sam2.engine import propose
from sam2_models import MEAN, STD, quick

checkpoint, scan, work = map(Path, sys.argv[1:])
propose(
    np.load(scan),
    spacing_mm=2.0,
    modality="ct",
    mean=MEAN,
    std=STD,
    config=quick(checkpoint),
    work=work,
)
