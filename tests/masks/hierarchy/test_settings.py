import pytest
from pydantic import ValidationError

from mass3d.masks.hierarchy.settings import HierarchyConfig


def test_a_window_of_another_modality_is_refused() -> None:
    tree = {"window": "bone", "sigma_vox": 0.5, "merging": "edge"}
    assert HierarchyConfig.model_validate({"ct": [tree]}).ct[0].window == "bone"
    with pytest.raises(ValidationError, match="bone is not a window of it; use full, root"):
        HierarchyConfig.model_validate({"mr": [tree]})
