"""Record framing: the way from pieces of any size to whole records."""

import struct
import tracemalloc

import pytest

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi.records import SPLIT_BYTES, STDIN, RecordReader, frame, frame_stream


def record(content, padding=b"", *, kind=STDIN, request_id=1, version=1, reserved=0):
    header = struct.pack(">BBHHBB", version, kind, request_id, len(content), len(padding), reserved)
    return header + content + padding


def test_content_of_padding_and_reserved_byte_does_not_matter():
    """Padding is skipped whatever it holds; the reserved byte is not looked at."""
    stream = record(b"abc", b"\xff" * 255, reserved=77) + record(b"")
    assert RecordReader().feed(stream) == [(STDIN, 1, b"abc"), (STDIN, 1, b"")]


def test_largest_record_is_read():
    """Content and padding together need more than 16 bits (CVE-2026-55203)."""
    stream = record(b"x" * 65_535, b"\x01" * 255) + record(b"next")
    assert RecordReader().feed(stream) == [(STDIN, 1, b"x" * 65_535), (STDIN, 1, b"next")]


@pytest.mark.parametrize("padding", [1, 2, 8, 255])
def test_padding_of_a_full_record_does_not_wrap(padding):
    """65,535 bytes of content plus any padding leave the reader in step."""
    stream = record(b"x" * 65_535, b"\0" * padding) + record(b"next")
    reader = RecordReader()
    assert [content for _, _, content in reader.feed(stream)][1] == b"next"
    assert reader.buffered_bytes == 0


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_version_is_refused(version):
    """Only version 1 exists; anything else is a stream out of step."""
    with pytest.raises(ProtocolError, match=f"version {version}"):
        RecordReader().feed(record(b"", version=version))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 13])
def test_pieces_of_any_size_give_the_same_records(size):
    """Where a read ends has no influence."""
    stream = record(b"abc", b"\0" * 5) + record(b"") + record(b"defgh")
    reader = RecordReader()
    records = []
    for start in range(0, len(stream), size):
        records += reader.feed(stream[start : start + size])
    assert records == [(STDIN, 1, b"abc"), (STDIN, 1, b""), (STDIN, 1, b"defgh")]
    assert reader.buffered_bytes == 0


def test_unfinished_record_is_counted():
    """What waits for its rest is visible to the caller."""
    reader = RecordReader()
    reader.feed(record(b"abc")[:-1])
    assert reader.buffered_bytes == 10
    assert reader.feed(b"c") == [(STDIN, 1, b"abc")]
    assert reader.buffered_bytes == 0


def test_long_body_in_odd_reads_is_not_held_back():
    """However long the stream, at most one record and the read that began it are in memory."""
    read = record(b"x" * 32_768) * 2
    shifted = read[77:] + read[:77]  # a read never ends where a record does
    reader = RecordReader()
    reader.feed(read[:77])
    stream_bytes = 0
    tracemalloc.start()
    for _ in range(500):
        stream_bytes += sum(len(content) for _, _, content in reader.feed(shifted))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stream_bytes == 500 * 65_536
    assert reader.buffered_bytes == 77
    assert peak < 1024 * 1024


def test_record_is_written_with_zero_padding_and_reserved_byte():
    """No byte of a header is left to chance (CVE-2023-0836)."""
    assert frame(STDIN, 0x1234, b"ab") == b"\x01\x05\x12\x34\x00\x02\x00\x00ab"


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, []),
        (1, [1]),
        (SPLIT_BYTES, [SPLIT_BYTES]),
        (SPLIT_BYTES + 1, [SPLIT_BYTES, 1]),
        (65_536, [SPLIT_BYTES, 8]),
        (3 * SPLIT_BYTES, [SPLIT_BYTES] * 3),
    ],
)
def test_long_data_is_split_below_the_largest_length(length, expected):
    """No length field overflows, and empty data gives no record, which would end the stream."""
    data = bytes(i % 251 for i in range(length))
    records = RecordReader().feed(frame_stream(STDIN, 1, data))
    assert [len(content) for _, _, content in records] == expected
    assert b"".join(content for _, _, content in records) == data
