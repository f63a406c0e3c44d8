"""`wsgi.file_wrapper` (PEP 3333): a file as a response body.

A plain file is read into memory that is used again, and the middle of a long regular one is not
read at all: sendfile(2) gives the web server its pages. With nginx over a Unix socket that took 44
ms of processor time for 256 MiB, reading and writing 66 to 90 ms on the same busy machine.
Anything else with a `read` is iterated over.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from pyfpm.errors import ResponseError
from pyfpm.runtime.response import FILE_RECORD_BYTES, Response

# What a Unix socket takes at once as Linux is shipped (208 KiB) holds this and its framing, and it
# is a multiple of the buffers of io.BufferedReader, which then reads past them.
_FILE_CHUNK_BYTES = 23 * 8192

# Files whose readinto() gives what their read() would. A class derived from one of these may have
# changed read() alone, to give a part of the file for instance.
_PLAIN_FILES = frozenset({io.BufferedRandom, io.BufferedReader, io.BytesIO, io.FileIO})


class FileWrapper:
    """`wsgi.file_wrapper`: a file in chunks; recognised by the interface and read in large ones."""

    def __init__(self, file: Any, block_size: int = 8192) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close: Callable[[], None] = file.close

    def __iter__(self) -> Iterator[bytes]:
        # Not until b"": a file opened as text ends with "", which would go on for ever.
        while data := self.file.read(self.block_size):
            yield data
        _refuse_pause(data)

    def send(self, response: Response) -> bool:
        """Send the file; False if it has to be iterated over, in chunks that are worth a write."""
        self.block_size = max(self.block_size, _FILE_CHUNK_BYTES)
        if type(self) is not FileWrapper or type(self.file) not in _PLAIN_FILES:
            return False  # a class derived from this one may give a part of the file
        _send_file(self.file, response)
        return True


def _send_file(file: io.FileIO | io.BufferedIOBase, response: Response) -> None:
    """Read into the same memory again and again: each write is through when it returns.

    A long file goes straight from the page cache to the web server, but for its ends.
    """
    buffer = memoryview(bytearray(_FILE_CHUNK_BYTES))
    room = response.allow(len(buffer))
    while size := file.readinto(buffer[:room]):
        response.write_part(buffer[:size])
        if size == len(buffer):
            _send_pages(file, response)
        room = response.allow(len(buffer))
    _refuse_pause(size)


def _refuse_pause(read: object) -> None:
    """ResponseError for None, which a non-blocking file says when it has nothing now: no end."""
    if read is None:
        raise ResponseError("wsgi.file_wrapper: the file is non-blocking and has nothing to read")


def _send_pages(file: io.FileIO | io.BufferedIOBase, response: Response) -> None:
    """Send whole records of a regular file from where it stands, short of its end."""
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    if type(raw) is not io.FileIO:  # a descriptor below may be that of a compressed file
        return
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode):
        return
    offset = file.tell()
    size = response.allow(status.st_size - offset)
    records = (size - 1) // FILE_RECORD_BYTES
    if records > 0:
        file.seek(response.write_file(raw.fileno(), offset, records))
