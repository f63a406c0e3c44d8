r"""Values that clients chose, made fit for a line of the access log.

In text, whatever could end a line, a quoted field or a terminal's patience becomes `\xHH`, as in
nginx and Apache: control characters, `"`, the backslash, and every byte from 0x7f on. In JSON it
is JSON's own escaping. Values are strings as in a WSGI environ, one character for each byte.
"""

from collections.abc import Callable
from json.encoder import encode_basestring_ascii

LONGEST_LINE_BYTES = 16 * 1024
_DOTS = "..."
# No form is shorter than its value, so what is longer than a line is cut anyway: escaping all of a
# megabyte first would take a tenth of a second.
_MOST_CHARACTERS = LONGEST_LINE_BYTES + 1
_QUOTED = {code: f"\\x{code:02X}" for code in (*range(32), ord('"'), ord("\\"), *range(127, 256))}
_BARE = {**_QUOTED, ord(" "): "\\x20"}


def escape_bare(value: object) -> str:
    """For a field that ends at the next space: spaces are escaped too."""
    return _bytes_of(value).translate(_BARE)


def escape_quoted(value: object) -> str:
    """For a field that stands alone between double quotes."""
    return _bytes_of(value).translate(_QUOTED)


def quote_json(value: object) -> str:
    """A JSON string, or null for None; bytes that are UTF-8 are shown as the text they are."""
    if value is None:
        return "null"
    text = str(value)
    return encode_basestring_ascii(text if text.isascii() else _text_of(text))


def cut(form: Callable[[object], str], value: object, most: int) -> str:
    """`value` in that form, cut so that it has at most `most` characters; dots show the cut."""
    if value is None:
        return form(value)
    text = str(value)
    shown = form(text if len(text) <= most else text[:most] + _DOTS)
    while len(shown) > most:
        text = text[: max(0, min(len(text) - 1, len(text) * (most - len(_DOTS)) // len(shown)))]
        shown = form(text + _DOTS)
        if not text:
            break
    return shown


def _bytes_of(value: object) -> str:
    """One character for each byte; what an application put there may be any text."""
    text = str(value)[:_MOST_CHARACTERS]
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode("latin-1")
    return text


def _text_of(value: str) -> str:
    value = value[:_MOST_CHARACTERS]
    try:
        return value.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
