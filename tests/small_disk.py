"""A disk of a few kilobytes of its own, on which scripts really run out of space."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A mount that only the script sees, and that goes with it: as root, or as anyone who may be root
# of a namespace of their own.
NAMESPACES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
PRELUDE = """
import json, subprocess, sys
from pathlib import Path

disk = Path(sys.argv[1])

def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "none", disk], check=True)
"""


def run_on_small_disk(script: str, folder: Path, *arguments: object) -> Any:
    """What a Python script prints as JSON; skips the test where nobody may mount.

    The script is given `disk`, an empty folder in `folder`, `mount(*options)`, which puts a tmpfs
    there (or, with "remount", changes it), and `arguments` as `sys.argv[2:]`.
    """
    disk, file = folder / "disk", folder / "script.py"
    disk.mkdir()
    file.write_text(PRELUDE + script)
    for namespace in NAMESPACES:
        refused = _refusal([*namespace, "mount", "-t", "tmpfs", "none", str(disk)])
        if not refused:
            break
    else:
        pytest.skip(f"nobody may mount a small disk here: {refused}")
    command = [*namespace, sys.executable, str(file), str(disk), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _refusal(command: list[str]) -> str:
    """What a command complains about when it fails, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
