"""Ctrl-C: heard at any time, and obeyed within two seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.cli import INTERRUPTED, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

_PATIENCE_S = 1.8
"""How long, of the two seconds, may be spent on cleaning up."""
_POKE_S = 0.05


@contextmanager
def interruptible(cancel: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C call ``cancel`` and raise ``KeyboardInterrupt``, and not end the program at once.

    The program ends all the same where that is not obeyed in time, or Ctrl-C comes twice. Does
    nothing where Ctrl-C is not ours to handle: in the background of a script, or in a test.
    """
    if sys.platform == "win32" or signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    pressed, over = threading.Event(), threading.Event()

    def interrupt(*_: object) -> NoReturn:
        if pressed.is_set():
            os._exit(INTERRUPTED)
        pressed.set()
        cancel()
        raise KeyboardInterrupt

    end, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    threading.Thread(target=_watch, args=(end, pressed, over), daemon=True).start()
    signal.signal(signal.SIGURG, lambda *_: None)
    before = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)
        over.set()
        signal.set_wakeup_fd(before)
        os.close(wakeup)


def _watch(end: int, pressed: threading.Event, over: threading.Event) -> None:
    """See to it that Ctrl-C, which ``end`` tells of first, comes through to the main thread.

    Python handles a signal between two steps of that thread: one that comes right before it waits
    is not handled as long as it waits. Another signal, which does nothing else, wakes it up.
    """
    with open(end, "rb", buffering=0) as signals:
        while told := signals.read(1):
            if told[0] == signal.SIGINT:
                break
        else:
            return
        late = time.monotonic() + _PATIENCE_S
        while not over.wait(_POKE_S):
            if time.monotonic() > late:
                leave()
            if not pressed.is_set():
                main = threading.main_thread().ident
                assert main is not None  # noqa: S101 - it runs
                signal.pthread_kill(main, signal.SIGURG)
