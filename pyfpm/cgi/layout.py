"""What the parameters of most requests to a pool have in common.

A web server sends its own parameters first, in the order of its configuration, and then the headers
of the client. Of its own, most have the value that they had in the request before: the name of the
server, its software, the root of its documents. So a request is, in its bytes:

    constant | value that varies | constant | value that varies | … | constant | headers

A layout holds the constant stretches, and a dict in which all their values stand already. Filling
it for a request is one comparison for each stretch, one copy of the dict, and the cutting out of
those values that do vary. A request that differs in anything else is no match, and is decoded from
its beginning; so the result is never another than that of decoding.
"""

from collections.abc import Collection, Sequence

from pyfpm.fastcgi import encode_pairs

# The length of a longer name takes four bytes, which `Layout.fill` does not read.
LONGEST_NAME = 127


class Layout:
    """The leading parameters of requests: `pairs` as one of them had them, in their order.

    `keys` are the keys of an environ for their names, empty for a parameter that is dropped.
    The values of the names in `varying` are another with every request. `environ` is that of the
    request the pairs come from, without its headers; `is_complete` says that nothing is to be done
    to it but adding them.
    """

    __slots__ = ("_environ", "_rest", "_steps", "count", "end", "is_complete")

    def __init__(
        self,
        pairs: Sequence[tuple[bytes, bytes]],
        keys: Sequence[str],
        varying: Collection[bytes],
        environ: dict[str, object],
        *,
        is_complete: bool,
    ) -> None:
        self.count = len(pairs)
        self.end = 0
        """Where in the stream that was filled last the headers begin."""
        self.is_complete = is_complete
        self._environ = environ
        # A constant stretch, then name and key of the parameter behind it. The length of the name
        # is the last byte of the stretch; the length of the value stands between the two.
        self._steps: list[tuple[bytes, bytes, str]] = []
        stretch = b""
        for (name, value), key in zip(pairs, keys, strict=True):
            if name in varying:
                self._steps.append((stretch + bytes((len(name),)), name, key))
                stretch = b""
            else:
                stretch += encode_pairs([(name, value)])
        self._rest = stretch

    def fill(self, stream: bytes) -> dict[str, object] | None:
        """The environ for a request whose encoded parameters begin as laid out here.

        None if they do not. `end` says where the parameters go on that are not in it yet.
        """
        position = 0
        environ = self._environ.copy()
        try:
            for stretch, name, key in self._steps:
                if not stream.startswith(stretch, position):
                    return None
                position += len(stretch)
                length = stream[position]
                position += 1
                if length > 127:  # three more bytes (FastCGI §3.4)
                    length = (
                        (length & 127) << 24
                        | stream[position] << 16
                        | stream[position + 1] << 8
                        | stream[position + 2]
                    )
                    position += 3
                if not stream.startswith(name, position):
                    return None
                start = position + len(name)
                position = start + length
                if position > len(stream):
                    return None
                if key:
                    environ[key] = stream[start:position].decode("latin-1")
        except IndexError:
            return None
        if not stream.startswith(self._rest, position):
            return None
        self.end = position + len(self._rest)
        return environ


def count_leading(pairs: Sequence[tuple[bytes, bytes]]) -> int:
    """How many pairs come before the headers of the client, which end the parameters.

    The web server may set some headers itself, among its own parameters: those count.
    """
    count = len(pairs)
    while count and pairs[count - 1][0].startswith(b"HTTP_"):
        count -= 1
    return count
