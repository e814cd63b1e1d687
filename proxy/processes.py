"""What a supervisor and its children share: stop signals that can be waited for, and ending with the parent."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection, parent_process
from types import FrameType, TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """SIGINT and SIGTERM as something to wait for, while the ``with`` block lasts.

    ``socket`` becomes readable when a signal has come, for ``multiprocessing.connection.wait`` beside pipes and
    sentinels. To be used from the main thread.
    """

    def __init__(self, *, with_reload: bool = False) -> None:
        """``with_reload``: SIGHUP, too, makes ``socket`` readable, and is told by ``take_reload`` instead."""
        self.received: list[int] = []
        """The signals that came, in order."""
        self._with_reload = with_reload
        self._reload_asked = False
        self.socket, self._writer = socket.socketpair()
        self.socket.setblocking(False)
        self._writer.setblocking(False)
        self._former: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            self._former[number] = signal.signal(number, self._take)
        if self._with_reload:
            self._former[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._ask_reload)
        # Without a wakeup, a wait that a signal interrupts is simply taken up again (PEP 475).
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self.socket.close()
        self._writer.close()

    def __bool__(self) -> bool:
        return bool(self.received)

    def wait(self, seconds: float) -> bool:
        """Waits for a signal that has not been waited for yet; whether one came."""
        came = bool(connection.wait([self.socket], seconds))
        self.clear()
        return came

    def clear(self) -> None:
        """Makes ``socket`` unreadable until the next signal; ``received`` stays."""
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(64):
                pass

    def take_reload(self) -> bool:
        """Whether SIGHUP came since the last time that this was asked."""
        asked, self._reload_asked = self._reload_asked, False
        return asked

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)

    def _ask_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_asked = True


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Blocks SIGINT; a process started meanwhile begins with it blocked, so Ctrl-C reaches the supervisor alone."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent, process ``parent``, ends in whatever way. Linux only.

    It survives ``exec``. Elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def watch_supervisor() -> None:
    """Ends this process, made by ``multiprocessing``, when the supervisor is gone; works on every platform."""
    supervisor = parent_process()
    if supervisor is None:
        return

    def watch() -> None:
        connection.wait([supervisor.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()
    if supervisor.pid is not None:
        die_with_parent(supervisor.pid)
