"""What is fuzzed. A target takes an input, and lets nothing out where the product is right.

Whatever it lets out is a finding: an AssertionError is a wrong answer, any other exception a crash.
To add one: write a function `fuzz_…(data: bytes) -> None` that compares what the product makes of
`data` with what would be right, name it here, and put inputs that reach far into its corpus.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.codec import fuzz_client, fuzz_long_body, fuzz_pairs, fuzz_server
from fuzz.configuration import fuzz_configuration
from fuzz.control import fuzz_boot_document, fuzz_control, fuzz_message
from fuzz.observation import fuzz_access_format, fuzz_scoreboard
from fuzz.parameters import fuzz_parameters
from fuzz.responses import fuzz_head, fuzz_reply


@dataclass(frozen=True)
class Target:
    """`weight` is its share of the time; `is_hot` that its code also exists compiled."""

    fuzz: Callable[[bytes], None]
    weight: int
    is_hot: bool
    words: tuple[bytes, ...] = ()
    """What a mutation would not find by itself."""


_RECORDS = (
    b"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0",
    b"\1\1\0\1\0\x08\0\0\0\1\1\0\0\0\0\0",
    b"\1\1\0\2\0\x08\0\0\0\3\1\0\0\0\0\0",
    b"\1\4\0\1\0\0\0\0",
    b"\1\5\0\1\0\0\0\0",
    b"\1\x08\0\1\0\0\0\0",
    b"\1\2\0\1\0\0\0\0",
    b"\1\5\0\1\xff\xff\xff\0",
    b"\1\x09\0\0\0\x11\0\0\x0f\0FCGI_MPXS_CONNS",
)
_LENGTHS = (
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\x80\0\0\1",
    b"\x80\0\0\x80",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xfe",
)
_NAMES = tuple(
    bytes((len(name),)) + bytes((len(value),)) + name + value
    for name, value in (
        (b"REQUEST_METHOD", b"GET"),
        (b"CONTENT_LENGTH", b"-1"),
        (b"CONTENT_LENGTH", b"5"),
        (b"SCRIPT_NAME", b"/app/"),
        (b"PATH_INFO", b"/x"),
        (b"REQUEST_URI", b"http://h/a%2Fb?q"),
        (b"SCRIPT_FILENAME", b"proxy:unix:/s|fcgi://h/a?b"),
        (b"HTTP_HOST", b"[::1]:80"),
        (b"HTTP_COOKIE", b"a=1"),
        (b"HTTP_PROXY", b"http://evil"),
        (b"HTTPS", b"on"),
        (b"REMOTE_USER", b""),
        (b"SERVER_PORT", b""),
    )
)
_JSON = (b'{"', b'":', b"[[[[", b"1e309", b"NaN", b'"\\ud800"', b"null", b"true", b"4294967296")
_OPTIONS = (
    *(b"\n[pool:a]\n", b"\n[pyfpm]\n", b"\n[pool-defaults]\n", b"\n[include]\nfiles = *.part\n"),
    *(b"\n;;; file\n", b"\nenv[A] = b", b'environment = A="1",B="%(ENV_HOME)s"\n', b"\n  more"),
    *(b"%(here)s", b"%(ENV_BOMB)s", b"%%", b"$pool", b"'''", b'"""', b" ; note", b"\xff", b"\0"),
    *(b"app = a:b\nlisten = /a.sock\n", b"\nlisten = [::1]:9000, 9000 systemd:x\n", b"pm = static"),
    *(b"\npm.max_children = 0\n", b"request_terminate_timeout = 1h30m\n", b"1GiB", b"99999999999"),
)  # fmt: skip
_FORMAT = (
    b"%{",
    b"}e",
    b"%%",
    b'"%r"',
    b"%{%Y}t",
    b"combined",
    b"json",
    b"%{seconds}d",
    b"\\",
    b"{a}",
)

TARGETS = {
    "server": Target(fuzz_server, 5, True, (*_RECORDS, *_LENGTHS, *_NAMES)),
    "long-body": Target(fuzz_long_body, 3, True, _RECORDS),
    "client": Target(fuzz_client, 1, True, (b"\1\6\0\1\0\0\0\0", b"\1\3\0\1\0\x08\0\0")),
    "pairs": Target(fuzz_pairs, 2, True, (*_LENGTHS, *_NAMES)),
    "parameters": Target(fuzz_parameters, 5, True, (*_LENGTHS, *_NAMES)),
    "head": Target(
        fuzz_head,
        2,
        True,
        (b"\r\n", b"Content-Length", b"Status", b"200 OK", b"Transfer-Encoding", b"Set-Cookie"),
    ),
    "reply": Target(
        fuzz_reply, 1, False, (b"Status: 404 No\r\n", b"\r\n\r\n", b"\n\n", b"Location: /")
    ),
    "configuration": Target(fuzz_configuration, 5, False, _OPTIONS),
    "control": Target(fuzz_control, 1, False, _JSON),
    "message": Target(fuzz_message, 1, False, (*_JSON, b'"kind": "', b"LogLine", b"Ready")),
    "boot-document": Target(fuzz_boot_document, 1, False, (*_JSON, b'"version": 3', b'"limits"')),
    "access-format": Target(fuzz_access_format, 2, False, _FORMAT),
    "scoreboard": Target(fuzz_scoreboard, 2, True, (b"full&json", b"openmetrics", b"\0\0\4\0R")),
}
