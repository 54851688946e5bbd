from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mass3d.apps import prepare
from mass3d.config import resolve
from mass3d.errors import ConfigError
from mass3d.store.reader import StoredCase
from mass3d.store.several import Stores
from mass3d.views.balance import ROUND, Balance, DrawConfig, Part, balance_of, quotas_of
from mass3d.views.draw import case_order
from mass3d.views.mates import draw_mates


@pytest.fixture(scope="module")
def small(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the one CT among the test scans."""
    folder = tmp_path_factory.mktemp("other") / "small"
    scan = sorted((cohort / "imagesTs").iterdir())[0]
    config = prepare.PrepareConfig(inputs=(scan,), output=folder, spacing_mm=7.0, workers=1)
    assert prepare.run(config).ok
    return folder


@pytest.fixture(scope="module")
def both(store: Path, small: Path) -> tuple[Stores, list[StoredCase]]:
    """Two CT and two MR in `store`, one CT in `small`."""
    return opened(store, small)


def opened(*paths: Path) -> tuple[Stores, list[StoredCase]]:
    stores = Stores.open(paths)
    return stores, [stores.case(case_id) for case_id in stores.case_ids]


def shares(balance: Balance | None) -> dict[str, float]:
    assert balance is not None
    return {f"{part.store} {part.modality}": round(part.share, 6) for part in balance.parts}


@pytest.mark.parametrize("given", [[0.5, 0.5], [0.3333, 0.6667], [1e-9, 1 - 1e-9], [1.0]])
def test_quotas_are_whole_and_as_near_as_can_be(given: list[float]) -> None:
    quotas = quotas_of(given)
    assert sum(quotas) == ROUND
    assert min(quotas) >= 1
    assert np.abs(np.array(quotas) - ROUND * np.array(given)).max() <= 1


def test_many_rare_parts_take_their_least_from_the_largest() -> None:
    quotas = quotas_of([1e-6] * 20 + [1 - 2e-5])
    assert quotas == (*[1] * 20, ROUND - 20)


def test_counted_draws_are_as_the_shares_say_and_even_within_a_part() -> None:
    sizes, wanted = (3, 40, 7), (0.1, 0.25, 0.65)
    numbers = np.split(np.arange(50), np.cumsum(sizes)[:-1])
    parts = tuple(
        Part(f"s{i}", i + 1, "ct", cases, share)
        for i, (cases, share) in enumerate(zip(numbers, wanted, strict=True))
    )
    balance = Balance(parts, quotas_of(wanted))
    drawn = [case_order(5, position, 50, balance) for position in range(2 * ROUND)]
    counts = Counter(drawn)
    for part, share in zip(parts, wanted, strict=True):
        mine = [counts[case] for case in part.cases.tolist()]
        assert sum(mine) == round(2 * ROUND * share)
        assert max(mine) - min(mine) <= 1
    assert drawn != [case_order(6, position, 50, balance) for position in range(2 * ROUND)]
    late = range(2 * ROUND - 1, ROUND - 2, -1)  # asked in another order, as after a resume
    assert [case_order(5, position, 50, balance) for position in late] == drawn[: ROUND - 2 : -1]
    expected = np.repeat(np.array(wanted) / sizes, sizes)
    np.testing.assert_allclose(balance.of_cases(50), expected)


def test_cases_that_count_alike_are_drawn_as_ever(
    store: Path, both: tuple[Stores, list[StoredCase]]
) -> None:
    for alpha in (0.0, 0.5, 1.0):
        assert balance_of(*opened(store), DrawConfig(alpha=alpha)) is None
    assert balance_of(*both, DrawConfig(alpha=1.0)) is None
    assert balance_of(*opened(store), DrawConfig(stores={"store": 3.0})) is None


def test_a_store_is_drawn_as_its_size_to_a_power(both: tuple[Stores, list[StoredCase]]) -> None:
    half = {"small ct": 1 / 3, "store ct": 1 / 3, "store mr": 1 / 3}  # 1 to 2 = root of 4
    assert shares(balance_of(*both, DrawConfig())) == pytest.approx(half, abs=1e-6)
    alike = {"small ct": 0.5, "store ct": 0.25, "store mr": 0.25}
    assert shares(balance_of(*both, DrawConfig(alpha=0.0))) == pytest.approx(alike)


def test_weights_of_stores_and_modalities_are_factors(
    store: Path, both: tuple[Stores, list[StoredCase]]
) -> None:
    given = DrawConfig(alpha=0.0, stores={str(store): 3.0}, modalities={"mr": 2.0})
    found = balance_of(*both, given)
    expected = {"small ct": 1, "store ct": 1.5, "store mr": 3}
    assert shares(found) == pytest.approx({k: v / 5.5 for k, v in expected.items()}, abs=1e-6)
    assert found is not None
    names = both[0].names
    assert found.plain().keys() == {
        f"ct of store {names.index('small') + 1}",
        f"ct of store {names.index('store') + 1}",
        f"mr of store {names.index('store') + 1}",
    }
    assert "27.3% of the draws from 2 ct of store" in found.in_words()
    assert sum(part.plain()["scans"] for part in found.parts) == 5
    alone = balance_of(*opened(store), DrawConfig(modalities={"ct": 3.0}))
    assert shares(alone) == {"store ct": 0.75, "store mr": 0.25}


def test_a_weight_of_zero_leaves_scans_out(both: tuple[Stores, list[StoredCase]]) -> None:
    one = balance_of(*both, DrawConfig(stores={"store": 0.0}))
    other = balance_of(*both, DrawConfig(stores={"small": 0.0}, modalities={"mr": 0.0}))
    assert shares(one) == {"small ct": 1.0}
    assert shares(other) == {"store ct": 1.0}
    assert one is not None
    assert other is not None
    assert one.plain() != other.plain()  # another run, though both have one part


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (DrawConfig(stores={"large": 1.0}), "a weight of no store .* small"),
        (DrawConfig(modalities={"pet": 1.0}), "that no scan has; expected one of ct, mr"),
        (DrawConfig(stores={"small": 0.0, "store": 0.0}), "no scan to be drawn"),
        (DrawConfig(modalities={"ct": 0.0, "mr": 0.0}), "no scan to be drawn"),
    ],
)
def test_weights_that_mean_nothing_are_refused(
    config: DrawConfig, told: str, both: tuple[Stores, list[StoredCase]]
) -> None:
    with pytest.raises(ConfigError, match=told):
        balance_of(*both, config)


def test_two_weights_of_one_store_are_refused(
    store: Path, both: tuple[Stores, list[StoredCase]]
) -> None:
    config = DrawConfig(stores={"store": 1.0, str(store): 2.0})
    with pytest.raises(ConfigError, match="a second weight of a store"):
        balance_of(*both, config)


def test_a_modality_that_does_not_exist_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"modalities.ultrasound.*'ct', 'mr' or 'pet'"):
        resolve(DrawConfig, assignments=["modalities.ultrasound=2"])


def test_mates_are_of_one_group_and_those_drawn_more_come_first() -> None:
    groups = ["a"] * 3 + ["b"] * 20 + ["alone"]
    every = draw_mates(groups, 1000, seed=0)
    assert len(every) == 3 * 2 + 20 * 19
    assert all(groups[one] == groups[other] for one, other in every)
    weights = np.array([0.3] * 3 + [0.1 / 10] * 10 + [0.0] * 10 + [0.0])
    some = draw_mates(groups, 4, seed=0, shares=weights)
    assert len({query for _, query in some} & {0, 1, 2}) >= 2
    drawn = draw_mates(groups, 1000, seed=0, shares=weights)
    assert {query for _, query in drawn} == set(range(13))
    assert {reference for reference, _ in drawn} == set(range(13))  # nor beside another scan
    assert draw_mates(groups, 0, seed=0) == ()
