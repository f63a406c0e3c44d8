"""ELF programs, as far as it takes to say what the kernel executes to load one (elf(5))."""

import struct
from typing import BinaryIO

_MAGIC = b"\x7fELF"
_HEADER_BYTES = 64
_PROGRAM_INTERPRETER = 3  # PT_INTERP
_LONGEST_PATH = 4096
# By class (1: 32 bits, 2: 64 bits): where the table of segments is, the size and number of its
# entries, and of an entry the kind, offset and size in the file.
_TABLE = {1: ("28xI10xHH", "IIIII12x"), 2: ("32xQ14xHH", "I4xQ16xQ16x")}


def read_loader(file: BinaryIO) -> str:
    """The dynamic loader that a program names; empty where it needs none or is no ELF program.

    OSError where the file cannot be read.
    """
    head = file.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES or head[:4] != _MAGIC or head[4] not in _TABLE:
        return ""
    try:
        return _read_loader(file, head)
    except (struct.error, ValueError, OverflowError):  # it claims more than it holds
        return ""


def _read_loader(file: BinaryIO, head: bytes) -> str:
    order = "<" if head[5] == 1 else ">"
    table, entry = _TABLE[head[4]]
    offset, size, count = struct.unpack_from(order + table, head)
    for number in range(count):
        file.seek(offset + number * size)
        kind, start, *rest = struct.unpack(order + entry, file.read(struct.calcsize(order + entry)))
        if kind == _PROGRAM_INTERPRETER:
            length = rest[-1]
            file.seek(start)
            return file.read(min(length, _LONGEST_PATH)).partition(b"\0")[0].decode()
    return ""
