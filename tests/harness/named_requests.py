"""Requests on kept connections, each with a name of its own, to be found again in a log."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from harness.machine import wait_until
from harness.master import Pyfpm


def _make_name(thread: int, number: int) -> str:
    return f"{thread}.{number}"


class NamedRequests:
    """Sends from some threads until the block ends; `sent` has the names of all answered ones."""

    def __init__(
        self,
        fpm: Pyfpm,
        socket_name: str,
        body: bytes,
        make_name: Callable[[int, int], str] = _make_name,
        threads: int = 3,
        pause_s: float = 0,
    ) -> None:
        """`body` is the answer to each; `pause_s` is that of each thread, after each answer."""
        self.sent: list[str] = []
        self._fpm, self._socket_name, self._make_name = fpm, socket_name, make_name
        self._body, self._pause_s = body, pause_s
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    def go_on(self, count: int = 30) -> None:
        """Wait for so many more answers."""
        goal = len(self.sent) + count
        wait_until(lambda: len(self.sent) >= goal)

    def _send(self, thread: int) -> None:
        with self._fpm.client(self._socket_name) as client:
            number = 0
            while not self._end.is_set():
                name = self._make_name(thread, number)
                assert client.request(f"/?{name}", keep=True).body == self._body
                self.sent.append(name)
                number += 1
                self._end.wait(self._pause_s)
