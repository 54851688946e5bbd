from __future__ import annotations

import copy
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from mass3d import errors
from mass3d.errors import (
    ConfigError,
    DataError,
    Interrupted,
    Mass3dError,
    ModelError,
    OutputError,
    StoreError,
)

KINDS = [DataError, StoreError, ModelError, OutputError, ConfigError, Interrupted]


def an_error(kind: type[Mass3dError]) -> Mass3dError:
    return kind(Path("a b.nii"), found="nothing", expected="something", fix="Put something there.")


def raise_one(kind: type[Mass3dError]) -> None:
    raise an_error(kind)


def test_these_are_all_errors_of_the_tree() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert defined == {Mass3dError, *KINDS}
    assert all(kind.__bases__ == (Mass3dError,) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_where_what_was_found_what_was_expected_and_what_to_do(
    kind: type[Mass3dError],
) -> None:
    error = an_error(kind)
    assert str(error) == "a b.nii: found nothing; expected something. Put something there."
    told = (error.where, error.found, error.expected, error.fix)
    assert told == ("a b.nii", "nothing", "something", "Put something there.")


def test_every_error_has_its_exit_code() -> None:
    assert {kind: an_error(kind).exit_code for kind in KINDS} == {
        DataError: 1,
        StoreError: 1,
        ModelError: 1,
        OutputError: 1,
        ConfigError: 2,
        Interrupted: 130,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_copied_whole(kind: type[Mass3dError]) -> None:
    error = an_error(kind)
    for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(copied) is kind
        assert str(copied) == str(error)
        assert vars(copied) == vars(error)


def test_an_error_crosses_a_process_pool_intact() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(ConfigError) as caught,
    ):
        pool.submit(raise_one, ConfigError).result()
    assert vars(caught.value) == vars(an_error(ConfigError))


def test_a_stop_by_signal_has_the_exit_code_that_shells_expect() -> None:
    told = {"found": "SIGTERM", "expected": "the last step", "fix": "Type it again."}
    error = Interrupted("run", **told, number=signal.SIGTERM)
    assert error.exit_code == 143
    assert pickle.loads(pickle.dumps(error)).exit_code == 143


def test_an_error_may_name_the_setting_to_change_but_does_not_say_it() -> None:
    error = ConfigError("a", found="b", expected="c", fix="d.", setting="fit.lr")
    assert error.setting == "fit.lr"
    assert str(error) == "a: found b; expected c. d."
