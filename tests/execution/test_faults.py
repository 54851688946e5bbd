from __future__ import annotations

import pytest

from mass3d.errors import DataError, Interrupted, Mass3dError, OutputError
from mass3d.execution.faults import Fault, attempt, faults_of, worker_died
from mass3d.execution.pool import run_cases

TOLD = {"found": "b", "expected": "c", "fix": "d."}


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("a", **TOLD), "a: found b; expected c. d."),
        (PermissionError(13, "Permission denied", "x.nii"), "Permission denied"),
        (MemoryError("Unable to allocate 3 GiB"), "not enough memory (Unable to allocate 3 GiB)"),
        (RuntimeError("CUDA out of memory.\nat 0"), "not enough memory (CUDA out of memory.)"),
        (RuntimeError("cpu: can't allocate memory"), "not enough memory (cpu: can't"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), "not enough memory (CUDA"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "not enough memory (cuDNN"),
        (RuntimeError("could not create a primitive"), "not enough memory (could not"),
        (
            RuntimeError("could not create a primitive descriptor for a convolution"),
            "unexpected RuntimeError: could not create a primitive descriptor",
        ),
        (RuntimeError("something else"), "unexpected RuntimeError: something else"),
        (RecursionError("too deep"), "unexpected RecursionError: too deep"),
        (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "why"), "unexpected UnicodeEncodeError"),
    ],
)
def test_whatever_happens_to_a_case_is_its_fault(error: Exception, told: str) -> None:
    fault = attempt(fail, "case", error)
    assert isinstance(fault, Fault)
    assert fault.where == "case"
    assert told in fault.message


def test_a_lack_of_memory_names_a_setting_only_where_the_verb_has_one() -> None:
    error = MemoryError("3 GiB")
    told = run_cases(fail, {"a": error}, workers=1, title="test")["a"]
    assert told == Fault("a", "not enough memory (3 GiB); free some")
    other = "a larger spacing_mm"
    told = run_cases(fail, {"a": error}, workers=1, title="test", instead=other)["a"]
    assert told == Fault("a", "not enough memory (3 GiB); free some, or take a larger spacing_mm")
    assert worker_died("a").message.endswith("; take more memory")
    assert worker_died("a", instead=other).message.endswith(
        "; take more memory or a larger spacing_mm"
    )


@pytest.mark.parametrize("kind", [OutputError, Interrupted])
def test_a_full_disk_or_a_signal_stops_the_run(kind: type[Mass3dError]) -> None:
    seen = []

    def work(job: int) -> int:
        seen.append(job)
        return fail(kind("out", **TOLD)) if job == 1 else job

    with pytest.raises(kind):
        run_cases(work, {"a": 0, "b": 1, "c": 2}, workers=1, title="test")
    assert seen == [0, 1]


def test_control_c_is_no_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(fail, "case", KeyboardInterrupt())


def test_faults_are_picked_out_in_order() -> None:
    first, second = Fault("a", "x"), Fault("c", "y")
    assert faults_of({"a": first, "b": 1, "c": second}) == (first, second)
