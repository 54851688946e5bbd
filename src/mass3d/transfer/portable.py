"""A model as an ONNX file: what its network says of one window, for programs without torch.

onnx and onnxruntime are loaded only when one is written, as they are an optional part of an
installation. The exporter of torch that traces is used: it needs onnx alone.
"""

from __future__ import annotations

import io
import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from mass3d.errors import ConfigError, ModelError, install_extra
from mass3d.files import VERSION, write_bytes
from mass3d.model.protocol import FeatureNetworkModule
from mass3d.transfer.finetuned.segmenter import FinetunedSegmenter
from mass3d.transfer.segmenter import Segmenter
from mass3d.transfer.trained import require_features

ONNX_FILE: Final = "model.onnx"
OPSET: Final = 17
INPUT: Final = "image"
MAX_ERROR: Final = 1e-3  # largest difference to torch, in shares of the largest number
BATCHES: Final = (1, 2)  # that are tried


class Portable(NamedTuple):
    """What was written, and how far it is from torch."""

    output: str  # logits, or features
    opset: int
    window_vox: tuple[int, int, int]
    max_relative_error: float

    def plain(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**self._asdict(), "window_vox": list(self.window_vox)}

    def in_words(self, folder: Path, fingerprint: str) -> str:
        """A sentence."""
        return (
            f"Exported the {self.output} of the weights {fingerprint[:12]} as "
            f"{folder / ONNX_FILE}, opset {self.opset}: at most "
            f"{self.max_relative_error:.1e} from torch, of the largest number."
        )


class _Features(nn.Module):
    """The dense feature map of a network as its one answer."""

    def __init__(self, net: FeatureNetworkModule) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net.features(image)


def require_onnx() -> None:
    """Raise `ConfigError` unless ONNX files can be written and tried here."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            "ONNX",
            found=f"no {' and no '.join(missing)} in this installation",
            expected="onnx, which writes the file, and onnxruntime, which tries it",
            fix=install_extra("onnx"),
            setting="to",
        )


def write_onnx(path: Path, segmenter: Segmenter) -> Portable:
    """Write logits (B, 1 + S, D, H, W) of a finetuned model, or features of a pretrained one.

    The input is `image` (B, 1, D, H, W), a window of the size it was trained with; B is free. The
    file is tried against torch first. Raises `ModelError` for a network that cannot be written.
    """
    trained = segmenter.trained
    net: nn.Module
    if isinstance(segmenter, FinetunedSegmenter):
        _require_one_channel(segmenter)
        net, output = segmenter.net, "logits"
    else:
        net, output = _Features(require_features("the model", trained.net)), "features"
    content = _with_facts(_traced(net, trained.crop, output), _facts(segmenter))
    error = max(_difference(content, net, batch, trained.crop) for batch in BATCHES)
    if not error <= MAX_ERROR:
        raise _not_written(f"answers that differ by {error:.2g} of the largest number")
    write_bytes(path, content)
    return Portable(output, OPSET, trained.crop, float(f"{error:.2g}"))


def _require_one_channel(segmenter: FinetunedSegmenter) -> None:
    if len(segmenter.channels) > 1:
        raise ModelError(
            "the model",
            found=f"a network of {len(segmenter.channels)} channels",
            expected="one that sees single scans, which is what an ONNX file here is for",
            fix="Finetune with one channel, or use it with mass3d.",
            setting="model",
        )


def _traced(net: nn.Module, window: tuple[int, int, int], output: str) -> bytes:
    """The network in the bytes of an ONNX file."""
    target = io.BytesIO()
    free = {0: "batch"}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # it traces shapes, which are the window's
            torch.onnx.export(
                net,
                (torch.zeros(2, 1, *window),),
                cast("Any", target),  # a stream, which its stubs do not know
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[output],
                dynamic_axes={INPUT: free, output: free},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise _not_written(str(error).strip().splitlines()[-1]) from error
    return target.getvalue()


def _with_facts(content: bytes, facts: dict[str, str]) -> bytes:
    """The file with what is needed to use it."""
    import onnx  # noqa: PLC0415 - optional

    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "mass3d", VERSION
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model)
    return cast("bytes", model.SerializeToString(deterministic=True))


def _facts(segmenter: Segmenter) -> dict[str, str]:
    """Of the model, as JSON by name."""
    trained = segmenter.trained
    facts: dict[str, Any] = {
        "window_vox": list(trained.crop),
        "spacing_mm": trained.preparation.spacing_mm,
        "preparation": trained.preparation.plain(),
        "fingerprint": trained.fingerprint,
    }
    if isinstance(segmenter, FinetunedSegmenter):
        targets = segmenter.targets
        facts["structures"] = targets.plain()
        facts["classes"] = [list(some) for some in targets.classes]
    return {name: json.dumps(value) for name, value in facts.items()}


def _difference(content: bytes, net: nn.Module, batch: int, window: tuple[int, int, int]) -> float:
    """Largest difference between onnxruntime and torch, in shares of the largest number."""
    import onnxruntime  # noqa: PLC0415 - optional

    rng = np.random.default_rng(batch)
    image = rng.standard_normal((batch, 1, *window)).astype(np.float32)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT: image})
    with torch.no_grad():
        expected = net(torch.from_numpy(image)).numpy()
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max().clip(1e-12))


def _not_written(found: str) -> ModelError:
    return ModelError(
        "the model",
        found=f"a network that ONNX, opset {OPSET}, cannot hold ({found})",
        expected="one of the presets tiny, small or resenc, pretrained or finetuned",
        fix="Use it with mass3d, or pretrain with another preset.",
        setting="model",
    )
