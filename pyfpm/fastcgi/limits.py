"""What a peer may make a connection hold in memory."""

from dataclasses import dataclass

# A length below this fits in one byte (FastCGI §3.4), which is the decoder's fast path; that path
# does not compare name lengths, so the limit on them must not be lower.
SHORT_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request's parameters; beyond any of them the peer is cut off.

    `max_params_bytes` is the whole encoded PARAMS stream, `max_params_count` its pairs, and
    `max_name_bytes` (at least 127) the length of one name.
    """

    max_params_bytes: int = 1024 * 1024
    max_params_count: int = 4096
    max_name_bytes: int = 4096

    def __post_init__(self) -> None:
        if self.max_name_bytes < SHORT_LENGTH - 1:
            raise ValueError(f"max_name_bytes {self.max_name_bytes}: at least {SHORT_LENGTH - 1}")
