"""POSTs without a pause, straight to a pool's socket: what a web server would see of it."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

from harness.fcgi_client import FcgiClient


class Posts(threading.Thread):
    """Sends POSTs until the block ends, on one kept connection or each on its own.

    `answers` counts the bodies that came back, or for `/echo`, where each must be the one that was
    sent, the good ones under b"". `failures` holds whatever went wrong; a new connection follows.
    """

    def __init__(self, address: str, uri: str = "/", *, keep: bool = True) -> None:
        super().__init__(daemon=True)
        self._address, self._uri, self._keep = address, uri, keep
        self._stopped = threading.Event()
        self.answers: Counter[bytes] = Counter()
        self.failures: list[str] = []

    @property
    def count(self) -> int:
        """How many were answered."""
        return self.answers.total()

    def run(self) -> None:
        client: FcgiClient | None = None
        while not self._stopped.is_set():
            try:
                client = client or FcgiClient(self._address)
                self._post(client)
            except (AssertionError, OSError) as error:
                self.failures.append(repr(error))
                client = None
            if client is not None and not self._keep:
                client.close()
                client = None
        if client is not None:
            client.close()

    def _post(self, client: FcgiClient) -> None:
        body = b"x" * (self.count % 3000)
        answer = client.request(self._uri, method="POST", body=body, keep=self._keep)
        assert answer.complete, answer
        assert answer.status == 200, answer
        if self._uri == "/echo":
            assert answer.body == body, answer
        self.answers[b"" if self._uri == "/echo" else answer.body] += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self.join()
