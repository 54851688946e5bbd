"""Where SAM2's weights are and which they are. Nothing is fetched unless that is asked for."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mass3d.errors import ConfigError, ModelError, install_extra
from mass3d.files import file_hash
from mass3d.masks.sam2.settings import Sam2Config

FILES: Final = ["config.json", "*.safetensors", "*.safetensors.index.json"]
# model_type of config.json -> classes of transformers: the model and its session
KINDS: Final = {
    "sam2_video": ("Sam2VideoModel", "Sam2VideoInferenceSession"),
    "edgetam_video": ("EdgeTamVideoModel", "EdgeTamVideoInferenceSession"),
}


def locate(config: Sam2Config) -> Path:
    """The folder that holds the checkpoint of the settings, fetched only if `download` is set.

    Raises `ConfigError` where no checkpoint is named or the extra is missing, `ModelError` where
    the weights are not there or are of another kind of model.
    """
    if config.checkpoint is None:
        raise ConfigError(
            "setting 'checkpoint' of sam2",
            found="no value",
            expected="a folder or hub id of a SAM2 video model",
            fix="For example facebook/sam2.1-hiera-tiny; docs/how-to/sam2-masks.md tells how to "
            "get the weights.",
            setting="masks.sam2.checkpoint",
        )
    folder = Path(config.checkpoint).expanduser()
    if not folder.is_dir():
        folder = _from_hub(config.checkpoint, download=config.download)
    _require_kind(folder)
    return folder


def weights_id(config: Sam2Config) -> str:
    """A hash of the model's architecture and weights, equal wherever they lie; errors of `locate`.

    Files are read once per process unless they change.
    """
    folder = locate(config)
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    whole = hashlib.sha256()
    for file in files:
        resolved = file.resolve()  # the hub's cache holds links
        facts = resolved.stat()
        whole.update(file.name.encode() + b"\0")
        whole.update(bytes.fromhex(_hash(resolved, facts.st_size, facts.st_mtime_ns)))
    return whole.hexdigest()


@lru_cache(maxsize=16)
def _hash(file: Path, size: int, changed_ns: int) -> str:
    """Hash of a file; size and time of change are there to tell when it must be read again."""
    return file_hash(file)


def _from_hub(name: str, *, download: bool) -> Path:
    """The folder of a hub id in the local cache. Raises `ModelError`, or `ConfigError`."""
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415
    except ImportError as missing:
        raise extra_missing() from missing
    try:
        return Path(snapshot_download(name, allow_patterns=FILES, local_files_only=not download))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = f" ({str(error).splitlines()[0]})" if download else ""
        raise ModelError(
            name,
            found=f"no such folder, and no such model could be fetched{reason}"
            if download
            else "no such folder, and nothing of this name in the local cache of the hub",
            expected="a folder with config.json and model.safetensors, or a hub id",
            fix="Check the name and the connection."
            if download
            else f"Check the name; to fetch a model of the hub run hf download {name}, or set "
            "download = true for this engine.",
        ) from error


def _require_kind(folder: Path) -> None:
    """Raise `ModelError` unless a folder holds a video model that can be followed with."""
    kind = read_architecture(folder).get("model_type")
    if kind not in KINDS:
        image_only = kind in ("sam2", "edgetam")
        raise ModelError(
            folder,
            found=f"a model of type {kind!r}"
            + (", which holds no memory to follow masks with" if image_only else ""),
            expected=f"a model of type {' or '.join(KINDS)}",
            fix="Take a checkpoint such as facebook/sam2.1-hiera-tiny.",
        )
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            folder,
            found="no *.safetensors",
            expected="the weights beside config.json",
            fix="Fetch the whole model again, with its safetensors.",
        )


def read_architecture(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises `ModelError`."""
    try:
        content = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelError(
            folder,
            found=f"no readable config.json ({type(error).__name__})",
            expected="a model as transformers saves it",
            fix="Give the folder that holds config.json and model.safetensors.",
        ) from error
    return content if isinstance(content, dict) else {}


def extra_missing() -> ConfigError:
    """The error for an installation without the libraries of this engine."""
    return ConfigError(
        "engine sam2",
        found="no library transformers",
        expected="the extra sam2",
        fix=install_extra("sam2"),
    )
