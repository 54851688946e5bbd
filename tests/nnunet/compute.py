"""Run by the python of nnU-Net: what its network makes of a checkpoint and an image.

    python compute.py CHECKPOINT IMAGE.npy FEATURES.npy

The network is built from the checkpoint's plan and given its weights: all but those of heads.
"""

import sys

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import (  # type: ignore[import-not-found]
    get_network_from_plans,
)


def main(checkpoint: str, image: str, features: str) -> None:
    """Write the last map of the decoder."""
    content = torch.load(checkpoint, weights_only=True)
    told = content["nnssl_adaptation_plan"]["architecture_plans"]
    net = get_network_from_plans(
        told["arch_class_name"],
        told["arch_kwargs"],
        told["arch_kwargs_requiring_import"],
        1,
        2,
        deep_supervision=False,
    ).eval()
    missing, unexpected = net.load_state_dict(content["network_weights"], strict=False)
    assert not unexpected, unexpected
    assert all(".seg_layers." in name for name in missing), missing
    found = []
    net.decoder.stages[-1].register_forward_hook(lambda *given: found.append(given[2]))
    with torch.no_grad():
        net(torch.from_numpy(np.load(image)))
    np.save(features, found[0].numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
