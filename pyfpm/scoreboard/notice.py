"""The notice: one page per pool in which the master tells its workers about the pool.

Workers render status pages, and for the surplus rule they must know how many slots to look at.
The page begins with a sequence number (see seqlock), then words in the order of `NoticeWord`,
then the texts.
"""

from dataclasses import dataclass, fields, replace
from struct import Struct
from typing import Any

from pyfpm.scoreboard.seqlock import get_text, put_text, read_consistently

NOTICE_BYTES = 4096
_TEXT_LENGTHS_AT = 1024
_TEXTS = {
    "pool": (1040, 64),
    "process_manager": (1104, 16),
    "state": (1120, 16),
    "reason": (1136, 512),
}


@dataclass(frozen=True, slots=True)
class NoticeCopy:
    """What the master publishes of a pool. The `ended_…` fields are totals of ended workers."""

    start_epoch_s: int = 0
    slots_in_use: int = 0
    generation: int = 0
    reloads: int = 0
    max_children: int = 0
    listen_queue: int = 0
    max_listen_queue: int = 0
    listen_queue_length: int = 0
    max_active: int = 0
    max_children_reached: int = 0
    slow_requests: int = 0
    terminated_requests: int = 0
    adopted: int = 0
    boot_ns: int = 0
    ended_requests: int = 0
    ended_requests_5xx: int = 0
    ended_refused: int = 0
    ended_handed_off: int = 0
    ended_protocol_errors: int = 0
    ended_bad_requests: int = 0
    ended_too_large: int = 0
    ended_timeouts: int = 0
    recycles_max_requests: int = 0
    recycles_idle: int = 0
    recycles_max_lifetime: int = 0
    recycles_max_memory: int = 0
    recycles_reload: int = 0
    recycles_timeout: int = 0
    respawns_crash: int = 0
    respawns_exit: int = 0
    respawns_hung: int = 0
    respawns_killed: int = 0
    pool: str = ""
    process_manager: str = ""
    state: str = ""
    reason: str = ""


_WORD_NAMES = tuple(field.name for field in fields(NoticeCopy) if field.name not in _TEXTS)
_WORDS = Struct(f"={len(_WORD_NAMES)}Q")


class NoticeWriter:
    """The master's side. `publish` writes only when something changed."""

    def __init__(self, page: memoryview) -> None:
        self._page = page
        self._sequence = page[:8].cast("Q")
        self.current = NoticeCopy()

    def publish(self, **changes: int | str) -> None:
        """Change the named fields of `NoticeCopy`."""
        if all(getattr(self.current, name) == value for name, value in changes.items()):
            return
        updated = replace(self.current, **changes)  # type: ignore[arg-type]  # names and types as there
        # Everything that may fail is done before the page is touched: a failure in between would
        # leave the sequence odd, and every reader would try in vain from then on.
        words = _WORDS.pack(*(getattr(updated, name) for name in _WORD_NAMES))
        texts = [getattr(updated, name).encode("utf-8", "replace") for name in _TEXTS]
        self.current = updated
        self._sequence[0] += 1
        self._page[8 : 8 + len(words)] = words
        for index, (start, room) in enumerate(_TEXTS.values()):
            put_text(self._page, _TEXT_LENGTHS_AT + 2 * index, start, room, texts[index])
        self._sequence[0] += 1


def read_notice(page: memoryview) -> NoticeCopy:
    """Copy the page of `NOTICE_BYTES` bytes."""
    copy = read_consistently(page)
    values: dict[str, Any] = dict(zip(_WORD_NAMES, _WORDS.unpack_from(copy, 8), strict=True))
    for index, (name, (start, room)) in enumerate(_TEXTS.items()):
        text = get_text(copy, _TEXT_LENGTHS_AT + 2 * index, start, room)
        values[name] = text.encode("latin-1").decode("utf-8", "replace")
    return NoticeCopy(**values)
