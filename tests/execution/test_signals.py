import os
import signal
import threading

import pytest

from mass3d.errors import Interrupted
from mass3d.execution.signals import STOPS, interruptible, stop_signals


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("number", STOPS)
def test_a_signal_in_the_midst_of_work_says_how_to_go_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    let_go = []

    def work() -> None:
        with interruptible("mass3d some"):
            try:
                os.kill(os.getpid(), number)
            finally:
                let_go.append(number)

    with pytest.raises(Interrupted, match=f"mass3d some: found {number.name}") as caught:
        work()
    assert caught.value.exit_code == 128 + number
    assert "the same command goes on" in caught.value.fix
    assert let_go == [number]
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("hangups")
def test_work_that_saves_first_is_told_and_goes_on() -> None:
    with interruptible("some"), stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert stop.number == signal.SIGTERM


def test_a_second_control_c_does_not_wait() -> None:
    def work() -> None:
        with interruptible("some"), stop_signals():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="SIGINT"):
        work()


def test_an_ignored_closed_terminal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible("some"), stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_beside_the_main_thread_signals_are_left_to_others() -> None:
    done = []

    def work() -> None:
        with interruptible("some"), stop_signals():
            done.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
