"""The choice of a device."""

from __future__ import annotations

import pytest
import torch

from mass3d.device import choose_device
from mass3d.errors import ConfigError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_the_setting_that_names_a_device_is_told() -> None:
    with pytest.raises(ConfigError, match=r"masks\.sam2\.device: found 'cuda:77'") as caught:
        choose_device("cuda:77", setting="masks.sam2.device")
    assert caught.value.setting == "masks.sam2.device"


def test_processes_that_share_gpus_touch_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # and none answers
    for name in ("cuda", "auto", "cuda:1"):
        assert choose_device(name, shared=True) == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", shared=True) == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: found 'cuda'"):
        choose_device("cuda", shared=True)


@pytest.mark.parametrize("name", ["cuda:77", "meta", "gpu", "", "cpu:x", "xla"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device: found {name!r}; expected auto, cpu, or"):
        choose_device(name)
