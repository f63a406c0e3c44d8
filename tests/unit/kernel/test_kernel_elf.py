"""The loader that a program names, from bytes as they may come."""

import io
import struct

import pytest

from pyfpm.kernel.elf import read_loader


def program(loader=b"/lib/ld.so", *, bits=64, order="<", count=1):
    """An ELF program with one segment, which names its loader."""
    wide, text = bits == 64, loader + b"\0"
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2]) + bytes(10)
    size = 64 if wide else 52
    entry_bytes = 56 if wide else 32
    head += struct.pack(order + ("HHIQQQI" if wide else "HHIIIII"), 2, 62, 1, 0, size, 0, 0)
    head += struct.pack(order + "HHHHHH", size, entry_bytes, count, 0, 0, 0)
    start = size + entry_bytes
    if wide:
        entry = struct.pack(order + "IIQQQQQQ", 3, 4, start, 0, 0, len(text), len(text), 1)
    else:
        entry = struct.pack(order + "IIIIIIII", 3, start, 0, 0, len(text), len(text), 4, 1)
    return head + entry + text


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_program_names_its_loader_whatever_its_class_and_byte_order(bits, order):
    """PT_INTERP, of every machine that Linux runs on."""
    file = io.BytesIO(program(bits=bits, order=order) + bytes(64))
    assert read_loader(file) == "/lib/ld.so"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#!/bin/sh\n" + bytes(100),
        b"\x7fELF",
        program()[:70],
        program(count=0),
        b"\x7fELF\x09" + program()[5:],
        program(b"\xff\xfe"),
        program()[:32] + struct.pack("<Q", 2**63) + program()[40:],
    ],
    ids=["empty", "script", "short", "cut", "no segments", "class", "bytes", "offset"],
)
def test_other_files_name_none(content):
    """Whatever an application's folder holds under the name of a program, nothing breaks."""
    assert read_loader(io.BytesIO(content)) == ""
