"""Signals that stop a training, once it is saved: Ctrl-C, and SIGTERM of a machine that is taken away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lsg_jax.training import parallel


class Interrupted(Exception):
    """A signal stopped the run after its state was saved; ``signum`` tells which."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


def agreed(received: list[int]) -> int:
    """Returns the signal that any process has received, the highest of several, 0 where none has."""
    return int(parallel.max_over_processes(received[0] if received else 0))


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Has SIGINT and SIGTERM end the process by themselves: while XLA compiles, no handler in Python is called.

    But for Ctrl-C where it raises KeyboardInterrupt, which comes late then, and does not end a notebook.
    """
    before = _handlers()
    for number in before:
        if before[number] is not signal.default_int_handler:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def collected() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one of either dies as usual.

    Outside the main thread, which Python has all signals handled in, it collects none.
    """
    received: list[int] = []
    before = _handlers()

    def receive(number: int, _: Any) -> None:
        _restore(before)  # first: who reads the line may send the second at once
        received.append(number)
        os.write(2, b"\nstopping once the running steps are saved; once more to stop at once\n")

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        _restore(before)


def _handlers() -> dict[int, Any]:
    """Returns those of both signals; outside the main thread, which Python has all signals handled in, none."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
