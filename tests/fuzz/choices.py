"""Decisions read from the bytes of an input, so that a mutated byte is another decision."""

from random import Random


class Choices:
    """Reads from the front of `data`; where that is used up, every decision is 0 and empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """A number from 0 to `below` - 1, of at most 256, by one byte."""
        return (self.take(1) or b"\0")[0] % below

    def flag(self) -> bool:
        """Yes or no, by one byte."""
        return self.number(2) == 1

    def take(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))

    def pieces(self, most: int) -> list[bytes]:
        """What is left in pieces, each after its length in two bytes."""
        found: list[bytes] = []
        while self._at < len(self._data) and len(found) < most:
            found.append(self.take(int.from_bytes(self.take(2), "big")))
        return found


def join_pieces(*pieces: bytes) -> bytes:
    """The inverse of `Choices.pieces`, for writing inputs by hand."""
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces)


def cut_anywhere(data: bytes, dice: int) -> list[bytes]:
    """`data` in up to nine pieces, some of them empty; the same ones for the same dice."""
    random = Random(dice)
    cuts = sorted(random.randint(0, len(data)) for _ in range(random.randint(0, 8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
