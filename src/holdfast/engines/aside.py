"""Blocking work beside the loop, in threads that nobody waits for: a hung mount must not keep the process alive.

asyncio's own threads are joined when the loop closes.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start(work: Callable[[], T], done: Callable[[], None] = lambda: None) -> asyncio.Future[T]:
    """Return the future result of `work`; `done` is called when its thread ends, however late."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(outcome: T | Exception) -> None:
        done()
        if answer.done():
            return
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

    def run() -> None:
        outcome: T | Exception
        try:
            outcome = work()
        except Exception as error:  # noqa: BLE001  # carried to the caller, who answers it
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop is closed by now: nobody waits for this answer
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="aside", daemon=True).start()
    return answer
