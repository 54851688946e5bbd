"""The `sam2` engine with random weights: memory over the number of slices, time of its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from support.measure import Row, cpu_seconds, main, memory_gib
from torch import Tensor
from transformers import Sam2VideoConfig, Sam2VideoInferenceSession, Sam2VideoModel

from mass3d.masks.sam2.automatic import SliceMask
from mass3d.masks.sam2.crops import point_grid
from mass3d.masks.sam2.network import Network
from mass3d.masks.sam2.propagate import Film, Track, start_tracks
from mass3d.masks.sam2.settings import Sam2Config
from mass3d.masks.sam2.slices import Slices

PICTURE = 256  # pixels of each side of a slice
FULL = 7  # slices that SAM2 remembers
TINY: dict[str, Any] = {
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    },
    "prompt_encoder_config": {"image_size": 128},
    "memory_attention_rope_feat_sizes": [8, 8],
    "image_size": 128,
}


def measure(small: bool) -> Sequence[Row]:
    """What is remembered of one object, of pictures of 128 pixels; then times of the real size."""
    lengths = (2, 9) if small else (8, 64)
    ours, plain = (remembered(max(lengths), forget=forget) for forget in (True, False))
    rows = [
        Row(f"remembered after {n} slices", ours[n], "MiB", plain[n], "the library's session")
        for n in lengths
    ]
    network = random_network(TINY if small else {})
    picture, points = slices(1).colours(0), point_grid(2 if small else 4)
    features = network.embed(picture)
    batch = Sam2Config().points_per_batch
    many = point_grid(8)[:batch]
    memory = memory_gib(lambda: network.decode(features, many))
    prompt = cpu_seconds(lambda: network.decode(features, points), repeats=1) / len(points)
    *_, step = steps(network, slices(2 + FULL))
    return [
        *rows,
        Row("features of a slice", cpu_seconds(lambda: network.embed(picture), repeats=1), "CPU-s"),
        Row("masks of one prompt", prompt, "CPU-s"),
        Row(f"memory of {batch} prompts at once", memory, "GiB"),
        Row("one object on one slice, and the slice's features", step, "CPU-s"),
    ]


def random_network(config: dict[str, Any]) -> Network:
    """A network of SAM2's `hiera-tiny` size, which takes its object to be everywhere."""
    torch.manual_seed(0)
    model = Sam2VideoModel(Sam2VideoConfig(**config)).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(30)
    return Network(model, Sam2VideoInferenceSession, torch.device("cpu"))


def slices(count: int) -> Slices:
    """Noise."""
    image = np.random.default_rng(0).normal(0, 1, (count, PICTURE, PICTURE)).astype(np.float32)
    return Slices(image, np.ones(image.shape, bool), -100.0, 300.0, ((-115.0, 235.0),) * 3)


def remembered(length: int, *, forget: bool) -> dict[int, float]:
    """MiB that a session holds of its object, by the number of slices it has followed it."""
    network = random_network(TINY)
    track = one_track(network, slices(length + 1))
    found = {}
    for index in range(1, length + 1):
        with torch.inference_mode():
            if forget:
                track.step(network, index, 1)
            else:
                network.model(track.session, frame_idx=index)
        held = {
            t.untyped_storage().data_ptr(): t for t in tensors(track.session.output_dict_per_obj)
        }
        found[index] = sum(t.untyped_storage().nbytes() for t in held.values()) / 2**20
    return found


def steps(network: Network, film: Slices) -> Iterator[float]:
    """CPU seconds of each step of one object."""
    track = one_track(network, film)
    for index in range(1, len(film)):
        begin = time.process_time()
        with torch.inference_mode():
            track.step(network, index, 1)
        yield time.process_time() - begin


def one_track(network: Network, film: Slices) -> Track:
    """A square on the first slice, about to be followed."""
    square = SliceMask((60, 120, 60, 120), np.ones((60, 60), bool), 1.0, 1).on(0)
    return start_tracks(network, Film(network, film), 0, [square])[0]


def tensors(value: object) -> Iterator[Tensor]:
    """Every tensor within dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from tensors(inner)


if __name__ == "__main__":
    main(__file__, measure)
