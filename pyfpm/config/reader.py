"""From the bytes of one file to its sections: decoding, the pre-pass, ConfigObj."""

import codecs
import os
import stat

from configobj import ConfigObj, ConfigObjError

from pyfpm.config.dialect import Rewriter, fold
from pyfpm.config.source import Section
from pyfpm.errors import Problem

_BOM = b"\xef\xbb\xbf"
_MOST_BYTES = 16 << 20


def read_bytes(path: str, file: str, *, only_regular: bool = False) -> tuple[bytes, list[Problem]]:
    """The bytes of a file; a file that cannot be read is a problem, and empty.

    With `only_regular` a FIFO is one, whose reader might wait for ever. Named on the command line
    it is all right: a shell makes one of `<(…)`.
    """
    try:
        return _read(path, only_regular=only_regular), []
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else str(error)
        return b"", [Problem(file, None, "", "", f"cannot be read: {reason}")]


def _read(path: str, *, only_regular: bool) -> bytes:
    with open(path, "rb", opener=_open_at_once if only_regular else None) as stream:
        if only_regular and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("it is no regular file")
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise OSError("it is longer than 16 MiB")
    return data


def _open_at_once(path: str, flags: int) -> int:
    """Opening a FIFO waits for its writer, unless it is asked not to."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_sections(data: bytes, file: str) -> tuple[list[Section], list[Problem]]:
    """The sections of a file in order, and everything that is wrong with its form."""
    lines, problems = _decode(data, file)
    rewriter = Rewriter(file)
    rewriter.rewrite(lines)
    try:
        # The lists and interpolation of ConfigObj are another dialect's: values stay as written.
        parsed = ConfigObj(rewriter.lines, list_values=False, interpolation=False)
    except ConfigObjError as error:
        parsed = error.config
        problems += [_not_a_line(found, lines, file) for found in error.errors]
    texts = {name: dict(parsed[name]) for name in parsed.sections}
    sections = fold(rewriter, texts, file)
    return sections, problems + rewriter.problems


def _decode(data: bytes, file: str) -> tuple[list[str], list[Problem]]:
    r"""The lines as text. Only `\n` and `\r\n` end a line, as editors count them."""
    lines, problems = [], []
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return [], [Problem(file, 1, "", "", "the file is UTF-16; save it as UTF-8")]
    for number, raw in enumerate(data.removeprefix(_BOM).split(b"\n"), start=1):
        line = ""
        try:
            line = raw.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            message = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
            problems.append(Problem(file, number, "", "", message))
        if "\0" in line:
            problems.append(Problem(file, number, "", "", "the line holds a NUL byte; remove it"))
            line = ""
        lines.append(line)
    return lines, problems


def _not_a_line(error: ConfigObjError, lines: list[str], file: str) -> Problem:
    text = lines[error.line_number - 1].strip()
    message = f"{text!r} is neither a [section] nor a comment; write a setting as key = value"
    return Problem(file, error.line_number, "", "", message)
