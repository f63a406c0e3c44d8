"""One worker's slot: 4,096 bytes, native 64-bit words first, then short texts.

    byte 0     sequence number (see seqlock)
    byte 8     counters and times, one word each, in the order of `Word`
    byte 1024  stage letter, one byte, outside the sequence so that it can be read alone
    byte 1032  length of the request's texts, two bytes
    byte 1040  the texts: method, user, script and URI, separated by NUL, cut to 2,048 bytes

Times are CLOCK_MONOTONIC in nanoseconds, which all processes of one boot share; only
`started_epoch_s` is wall clock. The worker writes through `SlotWriter`, which keeps what it needs
in attributes and touches each word once; everybody else reads copies.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from pyfpm.scoreboard.seqlock import get_text, put_text, read_consistently
from pyfpm.scoreboard.stage import Stage, stage_of

SLOT_BYTES = 4096
STAGE_AT = 1024
TEXT_LENGTH_AT = 1032
TEXT_AT = 1040
TEXT_ROOM = 2048
_NS = 1_000_000_000


class Word(IntEnum):
    """Index of each 64-bit word of a slot.

    `extend_timeout` writes EXTENDED_UNTIL_NS, the time until which the request may run, and then
    EXTENDED_REQUEST_NS, the REQUEST_STARTED_NS of the request that it is for. Both count only while
    the two are the same, so that the next request need not wipe them.
    """

    SEQUENCE = 0
    PID = 1
    SERIAL = 2
    GENERATION = 3
    STARTED_NS = 4
    STARTED_EPOCH_S = 5
    STAGE_SINCE_NS = 6
    REQUESTS = 7
    REQUEST_STARTED_NS = 8
    LAST_DURATION_NS = 9
    LAST_CPU_NS = 10
    CONTENT_LENGTH = 11
    REQUESTS_5XX = 12
    PARKED = 13
    PENDING = 14
    HANDED_OFF = 15
    CONNECTIONS = 16
    PROTOCOL_ERRORS = 17
    BOOT_NS = 18
    EXTENDED_REQUEST_NS = 19
    EXTENDED_UNTIL_NS = 20
    REFUSED = 21
    BAD_REQUESTS = 22
    TOO_LARGE = 23
    TIMEOUTS = 24


# The same as plain integers: an IntEnum member as an index costs a call on the hot path.
_SEQUENCE = int(Word.SEQUENCE)
_STAGE_SINCE_NS = int(Word.STAGE_SINCE_NS)
_REQUESTS = int(Word.REQUESTS)
_REQUEST_STARTED_NS = int(Word.REQUEST_STARTED_NS)
_LAST_DURATION_NS = int(Word.LAST_DURATION_NS)
_LAST_CPU_NS = int(Word.LAST_CPU_NS)
_CONTENT_LENGTH = int(Word.CONTENT_LENGTH)
_REQUESTS_5XX = int(Word.REQUESTS_5XX)
_STAGE = STAGE_AT
_RUNNING = Stage.RUNNING.code

_WORDS = Struct(f"={len(Word)}Q")


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """What one slot said at one moment. Seconds are monotonic unless named epoch."""

    pid: int
    serial: int
    generation: int
    stage: Stage
    stage_since_s: float
    started_s: float
    started_epoch_s: int
    requests: int
    request_started_s: float
    last_duration_s: float
    last_cpu_s: float
    content_length: int
    requests_5xx: int
    parked: int
    pending: int
    handed_off: int
    connections: int
    protocol_errors: int
    bad_requests: int
    too_large: int
    timeouts: int
    boot_s: float
    extended_request_s: float
    extended_until_s: float
    refused: int
    method: str
    uri: str
    script: str
    user: str
    last_memory_bytes: int = 0  # not in the slot: who renders a status asks the kernel


def read_slot(slot: memoryview) -> SlotCopy:
    """Copy a slot of `SLOT_BYTES` bytes; never raises, whatever the bytes are."""
    copy = read_consistently(slot)
    words = _WORDS.unpack_from(copy)
    texts = get_text(copy, TEXT_LENGTH_AT, TEXT_AT, TEXT_ROOM).split("\0", 3)
    method, user, script, uri = (*texts, "", "", "", "")[:4]
    return SlotCopy(
        pid=words[Word.PID],
        serial=words[Word.SERIAL],
        generation=words[Word.GENERATION],
        stage=stage_of(copy[STAGE_AT]),
        stage_since_s=words[Word.STAGE_SINCE_NS] / _NS,
        started_s=words[Word.STARTED_NS] / _NS,
        started_epoch_s=words[Word.STARTED_EPOCH_S],
        requests=words[Word.REQUESTS],
        request_started_s=words[Word.REQUEST_STARTED_NS] / _NS,
        last_duration_s=words[Word.LAST_DURATION_NS] / _NS,
        last_cpu_s=words[Word.LAST_CPU_NS] / _NS,
        content_length=words[Word.CONTENT_LENGTH],
        requests_5xx=words[Word.REQUESTS_5XX],
        parked=words[Word.PARKED],
        pending=words[Word.PENDING],
        handed_off=words[Word.HANDED_OFF],
        connections=words[Word.CONNECTIONS],
        protocol_errors=words[Word.PROTOCOL_ERRORS],
        bad_requests=words[Word.BAD_REQUESTS],
        too_large=words[Word.TOO_LARGE],
        timeouts=words[Word.TIMEOUTS],
        boot_s=words[Word.BOOT_NS] / _NS,
        extended_request_s=words[Word.EXTENDED_REQUEST_NS] / _NS,
        extended_until_s=words[Word.EXTENDED_UNTIL_NS] / _NS,
        refused=words[Word.REFUSED],
        method=method,
        uri=uri,
        script=script,
        user=user,
    )


class SlotWriter:
    """The one writer of a slot, inside its worker.

    `words` is public: counters that only this worker changes (parked, handed off, …) are plain
    item assignments by `Word` index, which are single aligned stores and need no sequence.
    """

    __slots__ = ("_area", "_bytes", "_requests", "_texts", "_words", "words")

    def __init__(self, slot: memoryview) -> None:
        self._bytes = slot
        self.words = slot[:STAGE_AT].cast("Q")
        self._area, self._words = slot, self.words  # the same memory; typed where this is compiled
        self._texts = b""
        self._requests = 0

    def claim(self, *, pid: int, serial: int, generation: int, now_ns: int, epoch_s: int) -> None:
        """Wipe the slot and enter a worker that begins to boot."""
        self._bytes[:] = bytes(SLOT_BYTES)
        self._texts = b""
        words = self.words
        words[Word.PID] = pid
        words[Word.SERIAL] = serial
        words[Word.GENERATION] = generation
        words[Word.STARTED_NS] = now_ns
        words[Word.STARTED_EPOCH_S] = epoch_s
        self.enter(Stage.BOOTING.code, now_ns)

    def enter(self, stage_code: int, now_ns: int) -> None:
        """Change the stage, and with it the time since when it holds."""
        self._words[_STAGE_SINCE_NS] = now_ns
        self._area[_STAGE] = stage_code

    def put(self, word: int, value: int) -> None:
        """Store one of the counters that need no sequence."""
        self._words[word] = value

    def begin_request(self, now_ns: int, texts: bytes, length: int) -> None:
        """A request starts running.

        `texts` are its method, user, script and URI, separated by NUL: one copy instead of four.
        `length` is the declared length of its body, 0 if unknown.
        """
        words = self._words
        words[_SEQUENCE] += 1
        words[_REQUEST_STARTED_NS] = now_ns
        words[_CONTENT_LENGTH] = length
        if texts != self._texts:  # else they stand there, from the request before
            put_text(self._bytes, TEXT_LENGTH_AT, TEXT_AT, TEXT_ROOM, texts)
            self._texts = texts
        words[_SEQUENCE] += 1
        words[_STAGE_SINCE_NS] = now_ns
        self._area[_STAGE] = _RUNNING

    def end_request(self, duration_ns: int, failed: bool) -> None:
        """The request is over; `failed` says that its status was 5xx or that it broke midway."""
        words = self._words
        self._requests += 1
        words[_SEQUENCE] += 1
        words[_REQUESTS] = self._requests
        words[_LAST_DURATION_NS] = duration_ns
        if failed:
            words[_REQUESTS_5XX] += 1
        words[_SEQUENCE] += 1

    def share_cpu(self, used_ns: int, busy_ns: int) -> None:
        """`used_ns` of processor time fell on requests of `busy_ns`; the last gets its share."""
        words = self._words
        words[_LAST_CPU_NS] = used_ns * words[_LAST_DURATION_NS] // busy_ns
