"""The pages that a worker answers by itself: `pm.status_path` and `ping.path`."""

import time
from dataclasses import replace

from pyfpm.kernel.clock import local_zone
from pyfpm.kernel.process import resident_bytes
from pyfpm.messages import BootDocument
from pyfpm.observe import Page, PoolStatus, answer_ping, answer_status, summarise
from pyfpm.runtime.exchange import PageMaker
from pyfpm.scoreboard import Board, read_notice


def make_pages(document: BootDocument, board: Board, notice: memoryview) -> dict[str, PageMaker]:
    """The pool's own pages by their path; empty where none is configured."""
    pages: dict[str, PageMaker] = {}
    if document.status_path:
        pages[document.status_path] = _StatusPage(board, notice).answer
    if document.ping_path:
        pages[document.ping_path] = _PingPage(document.ping_response).answer
    return pages


class _StatusPage:
    def __init__(self, board: Board, notice: memoryview) -> None:
        self._board = board
        self._notice = notice

    def answer(self, query: str, method: str) -> Page:
        return answer_status(query, self._summarise, method=method, zone=local_zone())

    def _summarise(self) -> PoolStatus:
        notice = read_notice(self._notice)
        in_use = min(notice.slots_in_use, self._board.slots)
        slots = [self._board.read(index) for index in range(in_use)]
        slots = [replace(slot, last_memory_bytes=resident_bytes(slot.pid)) for slot in slots]
        return summarise(notice, slots, time.monotonic(), time.time())


class _PingPage:
    def __init__(self, text: str) -> None:
        self._text = text

    def answer(self, query: str, method: str) -> Page:
        del query
        return answer_ping(self._text, method=method)
