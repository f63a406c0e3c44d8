"""Parameters to environs: whatever came before, a request means what the rules say."""

from fuzz.choices import Choices
from fuzz.codec_rules import BrokenError, split_pairs
from fuzz.parameter_rules import RefusedError, environ_of

from pyfpm.cgi import EnvironBuilder, PathInfo, declared_length
from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.fastcgi import Limits

MOUNTS = ("", "/app", "/a/b/", "/é")
TEMPLATES = ({}, {"wsgi.input": "ours", "SERVER_NAME": "fallback", "pyfpm.pool": "shop"})
LIMITS = (Limits(), Limits(max_params_bytes=4096, max_params_count=12, max_name_bytes=127))
# A builder looks again at what is usual with every 64th request that has something else: so many
# times each stream comes, in one input of eight.
MANY = 140
_MOST_DIGITS = 18


def fuzz_parameters(data: bytes) -> None:
    """A worker's requests one after the other, each in the three ways to an environ."""
    choices = Choices(data)
    mount, template = MOUNTS[choices.number(4)], TEMPLATES[choices.number(2)]
    by_uri, limits = choices.flag(), LIMITS[choices.number(2)]
    times = MANY if choices.number(8) == 7 else 2
    streams = choices.pieces(6)

    def builder() -> EnvironBuilder:
        return EnvironBuilder(
            mount=mount,
            path_info=PathInfo.REQUEST_URI if by_uri else PathInfo.AUTO,
            template=template,
            limits=limits,
        )

    as_text = mount.encode().decode("latin-1")
    expected = [
        rules_of(stream, limits, mount=as_text, by_uri=by_uri, template=template)
        for stream in streams
    ]
    worker, by_pairs = builder(), builder()
    for _ in range(times):
        for stream, environ in zip(streams, expected, strict=True):
            got = outcome_of(worker, stream)
            assert got == environ, f"build_from({stream!r}): {differing(got, environ)}"
    for stream, environ in zip(streams, expected, strict=True):
        try:
            pairs = split_pairs(stream, limits)
        except BrokenError:
            continue
        got = built(lambda: by_pairs.build(pairs))  # noqa: B023 - called at once
        assert got == environ, f"build({pairs!r}): {differing(got, environ)}"
        if isinstance(environ, dict):
            check_length(environ)


def rules_of(stream: bytes, limits: Limits, **options) -> object:
    try:
        return environ_of(split_pairs(stream, limits), **options)
    except BrokenError:
        return "broken"
    except RefusedError:
        return 400


def outcome_of(worker: EnvironBuilder, stream: bytes) -> object:
    return built(lambda: worker.build_from(stream))


def built(build) -> object:
    """The environ, the status of a refusal, or that the stream is broken."""
    try:
        return build()
    except ProtocolError:
        return "broken"
    except BadRequest as refusal:
        return refusal.status


def differing(got: object, expected: object) -> str:
    """What to look at: all of an environ would hide it."""
    if not (isinstance(got, dict) and isinstance(expected, dict)):
        return f"{got!r} instead of {expected!r}"
    names = {name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name)}
    return "; ".join(
        f"{name} is {got.get(name)!r} instead of {expected.get(name)!r}" for name in sorted(names)
    )


def check_length(environ: dict[str, object]) -> None:
    """CONTENT_LENGTH is decimal digits of ASCII or a 400."""
    text = str(environ.get("CONTENT_LENGTH", "none"))
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    expected = int(text) if is_number else None if text == "none" else 400
    assert built(lambda: declared_length(environ)) == expected, text
