"""Reading memory that somebody else may be writing at this moment.

Each area carries a sequence number that is odd while its one writer is inside. A reader copies
the area and keeps the copy if the number was even and the same before and after. The writer never
waits, so a writer that died halfway (an odd number for ever) costs readers a few tries and then
gives them a torn copy. That is why readers clamp every value and follow no length or offset that
they find there without checking it.
"""

from struct import Struct

TRIES = 8
_SEQUENCE = Struct("=Q")


def read_consistently(area: memoryview) -> bytes:
    """A copy of `area`, whose first eight bytes are its sequence number.

    Consistent unless the writer was inside at each of `TRIES` looks.
    """
    copy = b""
    for _ in range(TRIES):
        copy = bytes(area)
        before = _SEQUENCE.unpack_from(copy)[0]
        if before & 1 == 0 and _SEQUENCE.unpack_from(area)[0] == before:
            break
    return copy


def put_text(area: memoryview, length_at: int, start: int, room: int, text: bytes) -> None:
    """Store `text`, cut to `room` bytes, at `start`, and its length as two bytes at `length_at`."""
    size = len(text)
    if size > room:
        size = room
        text = text[:room]
    area[length_at] = size & 0xFF
    area[length_at + 1] = size >> 8
    area[start : start + size] = text


def get_text(copy: bytes, length_at: int, start: int, room: int) -> str:
    """The text that `put_text` stored, as latin-1; a length beyond `room` is cut to it."""
    size = min(copy[length_at] | copy[length_at + 1] << 8, room)
    return copy[start : start + size].decode("latin-1")
