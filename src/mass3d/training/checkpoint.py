"""Checkpoints: safetensors only, written atomically, self-describing, verified when read.

`weights` files hold one model and say how to build it and how to prepare scans for it; `resume`
files hold all that a run needs to go on as if it had never stopped. No pickle anywhere. Every
file carries the SHA-256 of its tensors, so damage and tampering are found before use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack
from torch import Tensor

from mass3d.errors import ModelError
from mass3d.files import VERSION, write_bytes

FORMAT = 1


def digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts and over names, types, shapes and bytes of tensors, in name order."""
    state = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def save(path: Path, tensors: Mapping[str, Tensor], *, kind: str, facts: Mapping[str, Any]) -> str:
    """Write tensors and JSON-able facts as one safetensors file; returns the digest."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    fingerprint = digest(ready, facts)
    header = {
        "format": FORMAT,
        "kind": kind,
        "mass3d": VERSION,
        "digest": fingerprint,
        "facts": dict(facts),
    }
    # as bytes, because what safetensors says itself about a full disk is no error of the system
    write_bytes(path, pack(ready, metadata={"mass3d": json.dumps(header, sort_keys=True)}))
    return fingerprint


def load(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Read a file that `save` wrote: tensors, facts and digest.

    Raises `ModelError` when the file is missing, not safetensors, not ours, of another kind or
    format, or when its tensors are not those it was written with.
    """
    expected = f"a mass3d {kind} file"
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in list(stream.keys())}
    except FileNotFoundError as error:
        raise ModelError(path, found="no file", expected=expected, fix="Check the path.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(
            path,
            found=f"an unreadable file ({error})",
            expected=expected,
            fix="It is damaged or foreign: copy it again or make it anew.",
        ) from error
    header = _header(path, metadata, expected)
    if header["kind"] != kind or header["format"] != FORMAT:
        raise ModelError(
            path,
            found=f"a {header['kind']} file of format {header['format']}",
            expected=f"{expected} of format {FORMAT}",
            fix=f"Use a file made by mass3d {VERSION}.",
        )
    if digest(tensors, header["facts"]) != header["digest"]:
        raise ModelError(
            path,
            found="content that differs from what the file was written with",
            expected=f"SHA-256 {header['digest'][:12]}…",
            fix="The file was damaged or changed: copy it again or make it anew.",
        )
    return tensors, header["facts"], header["digest"]


def _header(path: Path, metadata: Mapping[str, str], expected: str) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(metadata["mass3d"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ModelError(
            path,
            found="a safetensors file without a mass3d header",
            expected=expected,
            fix="Use a file written by mass3d.",
        ) from error
    return header
