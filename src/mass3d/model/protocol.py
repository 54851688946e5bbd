"""What training and transfer may know of a network: one protocol, and tasks as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

Maps: TypeAlias = Sequence[Tensor]
"""Feature maps of a batch of images, finest first; each (B, C, D', H', W')."""

TaskTensors: TypeAlias = Mapping[str, Tensor]
"""What a network keeps of references and masks. Names and shapes are the network's own, but for
the first axis, which is the batch."""


class Network(Protocol):
    """An in-context segmentation network.

    Letters: B batch, K masks. Space must be a multiple of `stride` along every axis.
    """

    stride: int

    def encode(self, image: Tensor) -> Maps:
        """image (B, 1, D, H, W), unitless -> feature maps."""
        ...

    def encode_task(self, maps: Maps, masks: Tensor) -> TaskTensors:
        """Feature maps of references and their masks (B, K, D, H, W) in [0, 1] -> their task."""
        ...

    def join_tasks(self, parts: Sequence[TaskTensors], weights: Tensor) -> TaskTensors:
        """One task from tasks of the same K masks seen in P windows of one reference.

        weights (P, K): how much of each mask a window shows; 0 where it is not to be used.
        """
        ...

    def decode(self, maps: Maps, task: TaskTensors) -> Tensor:
        """Feature maps of queries and a task -> logits (B, K, D, H, W)."""
        ...


class FeatureNetwork(Protocol):
    """A network with one dense feature map that knows the whole view: what finetuning builds on.

    Letters: B batch, C channels. Space must be a multiple of `stride` along every axis.
    """

    stride: int
    feature_stride: int  # voxels per cell of the feature map, along every axis
    feature_channels: int
    encoder_parts: tuple[str, ...]  # beginnings of the names of the weights on the way down

    def features(self, image: Tensor) -> Tensor:
        """image (B, 1, D, H, W), unitless -> (B, C, D / s, H / s, W / s), s = `feature_stride`."""
        ...


class NetworkModule(Network, nn.Module):
    """For type checkers: a network that is a torch module as well."""


class FeatureNetworkModule(FeatureNetwork, nn.Module):
    """For type checkers: a network with a dense feature map that is a torch module as well."""


class Extended(nn.Module):
    """A network with parts that only its training needs: what a run delivers is the network."""

    network: nn.Module

    def remember(self, kept: Mapping[str, Tensor]) -> None:
        """Take what steps told to keep, (N, ...) of all batches of an update in their order.

        Called after the update, in every process with the same: batches of one update do not see
        each other, whichever process takes them.
        """
        raise NotImplementedError


def network_of(model: nn.Module) -> nn.Module:
    """What a run of this model delivers."""
    return model.network if isinstance(model, Extended) else model


def segment_pair(net: Network, reference: Tensor, masks: Tensor, query: Tensor) -> Tensor:
    """Encode the task of `reference` and find it in `query`, with one pass of the encoder for both.

    reference, query (B, 1, D, H, W) of equal size; masks (B, K, D, H, W) -> logits of that shape.
    """
    both = net.encode(torch.cat([reference, query]))
    halves = [features.chunk(2) for features in both]
    task = net.encode_task([half[0] for half in halves], masks)
    return net.decode([half[1] for half in halves], task)
