"""New inputs from old ones."""

from collections.abc import Callable, Sequence
from random import Random

# Numbers at which a length, a counter or a C integer changes its nature.
_BORDERS = [
    number.to_bytes(size, "big")
    for size in (1, 2, 4)
    for number in (0, 1, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
    if number < 256**size
]


class Mutator:
    """Makes inputs of at most `longest` bytes; the same ones for the same dice."""

    def __init__(self, random: Random, words: Sequence[bytes], longest: int) -> None:
        self._random = random
        self._words = [*words, *_BORDERS]
        self._longest = longest
        self._ways: list[Callable[[bytes, bytes], bytes]] = [
            self._flip, self._flip, self._set_byte, self._insert_word, self._insert_word,
            self._overwrite, self._overwrite, self._remove, self._repeat, self._splice, self._move,
        ]  # fmt: skip

    def mutate(self, data: bytes, other: bytes) -> bytes:
        """`data` after a few changes; `other` is an input to take pieces from."""
        for _ in range(1 << self._random.randint(0, 3)):
            data = self._random.choice(self._ways)(data, other)
        return data[: self._longest]

    def _at(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        """Mostly a short one."""
        start = self._at(data)
        most = len(data) if self._random.random() < 0.1 else 16
        return start, min(len(data), start + self._random.randint(1, max(1, most)))

    def _flip(self, data: bytes, _: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 1 << self._random.randrange(8),)) + data[at + 1 :]

    def _set_byte(self, data: bytes, _: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + bytes((self._random.randrange(256),)) + data[at + 1 :]

    def _insert_word(self, data: bytes, _: bytes) -> bytes:
        at = self._at(data)
        return data[:at] + self._random.choice(self._words) + data[at:]

    def _overwrite(self, data: bytes, _: bytes) -> bytes:
        at = self._at(data)
        word = self._random.choice(self._words)
        return data[:at] + word + data[at + len(word) :]

    def _remove(self, data: bytes, _: bytes) -> bytes:
        start, stop = self._span(data)
        return data[:start] + data[stop:]

    def _repeat(self, data: bytes, _: bytes) -> bytes:
        start, stop = self._span(data)
        times = self._random.choice((1, 1, 2, 8, 300 if self._random.random() < 0.05 else 3))
        return data[:stop] + data[start:stop] * times + data[stop:]

    def _splice(self, data: bytes, other: bytes) -> bytes:
        start, stop = self._span(other)
        if self._random.random() < 0.3:
            stop = len(other)
        at = self._at(data)
        return data[:at] + other[start:stop] + data[at:]

    def _move(self, data: bytes, _: bytes) -> bytes:
        start, stop = self._span(data)
        rest = data[:start] + data[stop:]
        at = self._at(rest)
        return rest[:at] + data[start:stop] + rest[at:]
