"""Signals that ask a run to stop: Ctrl-C, and what schedulers send before they kill."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from continual.training.stopping import Halt

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAITS = b"\nstopping after this step; once more stops at once.\n"


@contextmanager
def stoppable(halt: Halt) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM ask ``halt`` to stop; the second one does what it always does.

    Handlers are installed in the main thread only, since Python allows no other, and restored at
    the end. A signal that is ignored (as under nohup) stays ignored.
    """
    before = {}
    main = threading.current_thread() is threading.main_thread()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, _: FrameType | None) -> None:
        if halt.asked is not None:
            restore()
            signal.raise_signal(number)
            return
        if halt.held and sys.stderr.isatty():
            os.write(2, WAITS)  # a reporter may be in the middle of a word
        halt.ask(number)

    for number in SIGNALS if main else ():
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
