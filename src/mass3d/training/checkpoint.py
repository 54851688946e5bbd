"""Checkpoints: safetensors only, written atomically, self-describing, verified when read.

`weights` files hold one model and say how to build it and how to prepare scans for it; `resume`
files hold all that a run needs to go on as if it had never stopped. No pickle anywhere. Every
file carries the SHA-256 of its tensors, so damage and tampering are found before use. Tensors are
written one by one, so that saving takes no second copy of them all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mass3d.config import Config, first_fault
from mass3d.errors import ModelError
from mass3d.files import VERSION, whole_file

FORMAT = 1
KINDS: Final = {  # names that safetensors gives to kinds of numbers
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

C = TypeVar("C", bound=Config)


def digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts and over names, types, shapes and bytes of tensors, in name order."""
    state = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(_bytes(tensor))
    return state.hexdigest()


def save(path: Path, tensors: Mapping[str, Tensor], *, kind: str, facts: Mapping[str, Any]) -> str:
    """Write tensors and JSON-able facts as one safetensors file; returns the digest.

    Raises `OutputError`, after which a file that was there before is there still.
    """
    fingerprint = digest(tensors, facts)
    header = {
        "format": FORMAT,
        "kind": kind,
        "mass3d": VERSION,
        "digest": fingerprint,
        "facts": dict(facts),
    }
    with whole_file(path) as partial, partial.open("wb") as stream:
        stream.writelines(_content(tensors, {"mass3d": json.dumps(header, sort_keys=True)}))
    return fingerprint


def _content(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[Any]:
    """A safetensors file in pieces: length of the header, header, tensors.

    Written here because the library makes one piece of it all, or tells a full disk as an error
    that is none of the system.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name in names:
        tensor = tensors[name]
        stop = start + tensor.numel() * tensor.itemsize
        header[name] = {
            "dtype": KINDS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in names:
        yield _bytes(tensors[name])


def _bytes(tensor: Tensor) -> Any:
    """The bytes of a tensor, without a copy where it lies in order in the memory of the CPU."""
    flat = tensor.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data


def load(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Read a file that `save` wrote: tensors, facts and digest.

    Raises `ModelError` when the file is missing, not safetensors, not ours, of another kind or
    format, or when its tensors are not those it was written with or not finite.
    """
    metadata, tensors = _read(path, kind, with_tensors=True)
    header = _header(path, metadata, kind)
    if digest(tensors, header.facts) != header.digest:
        raise ModelError(
            path,
            found="content that differs from what the file was written with",
            expected=f"SHA-256 {header.digest[:12]}…",
            fix="The file was damaged or changed: copy it again or make it anew.",
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                path,
                found=f"numbers in {name} that are not finite",
                expected="finite numbers",
                fix="Make the file anew; a run that ends so should be repeated with a lower rate.",
            )
    return tensors, header.facts, header.digest


def read_facts(path: Path, *, kind: str) -> dict[str, Any]:
    """The facts of a file that `save` wrote, without a look at its tensors. Raises `ModelError`."""
    metadata, _ = _read(path, kind, with_tensors=False)
    return _header(path, metadata, kind).facts


def read_header(path: Path) -> Header:
    """What a file of ours says, of whatever kind it is. Raises `ModelError` for all others."""
    metadata, _ = _read(path, "safetensors", with_tensors=False)
    return _header(path, metadata, None)


def validated(record: type[C], facts: Mapping[str, Any], path: Path) -> C:
    """Facts as a typed record. Raises `ModelError` that names the first wrong or missing one."""
    try:
        return record.model_validate(facts)
    except ValidationError as error:
        name, _, message = first_fault(error)
        raise ModelError(
            path,
            found=f"a header in which {name or 'everything'} is wrong ({message.lower()})",
            expected=f"what mass3d {VERSION} writes",
            fix="The file was changed or comes from another version: make it anew.",
        ) from error


class Header(Config):
    """What every file of ours says about itself."""

    format: int
    """Version of the layout."""
    kind: str
    """`weights`, `resume` or `task`."""
    mass3d: str
    """Version that wrote it."""
    digest: str
    """SHA-256 over facts and tensors."""
    facts: dict[str, Any]
    """What a file of this kind says."""


def _read(path: Path, kind: str, *, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a regular safetensors file."""
    if not path.exists():
        raise ModelError(
            path, found="no file", expected=f"a mass3d {kind} file", fix="Check the path."
        )
    if not path.is_file():  # opening a pipe would wait for ever
        raise ModelError(
            path,
            found="a folder" if path.is_dir() else "something that is not a regular file",
            expected=f"a mass3d {kind} file",
            fix="Check the path.",
        )
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            names = list(stream.keys()) if with_tensors else []
            return metadata, {name: stream.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            path,
            found=f"an unreadable file ({error})",
            expected=f"a mass3d {kind} file",
            fix="It is damaged or foreign: copy it again or make it anew.",
        ) from error


def _header(path: Path, metadata: Mapping[str, str], kind: str | None) -> Header:
    try:
        values = json.loads(metadata["mass3d"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelError(
            path,
            found="a safetensors file without a mass3d header",
            expected=f"a mass3d {kind or 'weights or task'} file",
            fix="Use a file written by mass3d.",
        ) from error
    header = validated(Header, values, path)
    kind = header.kind if kind is None else kind
    if header.kind != kind or header.format != FORMAT:
        raise ModelError(
            path,
            found=f"a {header.kind} file of format {header.format}",
            expected=f"a mass3d {kind} file of format {FORMAT}",
            fix=f"Use a file made by mass3d {VERSION}.",
        )
    return header
