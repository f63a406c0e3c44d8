"""How records become lines: PHP-FPM's form and JSON."""

import json
import logging
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.logs import OUTPUT, Level, count_lines, count_output_lines
from pyfpm.logs.formats import LINES_MOST, JsonFormatter, TextFormatter, clean, cut
from pyfpm.logs.levels import name_of

LIMIT = 1024


def record_of(message, level=Level.NOTICE, *, created=None, exc_info=None, **extra):
    record = logging.LogRecord("pyfpm", level, __file__, 1, "%s", (message,), exc_info)
    if created is not None:
        record.created = created
    record.__dict__.update(extra)
    return record


def text_of(message, *arguments, limit=LIMIT, **extra):
    return TextFormatter(limit).format(record_of(message, *arguments, **extra))


def json_of(message, *arguments, limit=LIMIT, **extra):
    return JsonFormatter(limit).format(record_of(message, *arguments, **extra))


@pytest.fixture
def utc(monkeypatch):
    """Local time is UTC during the test."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOV_21 = 1_795_255_200.25


def test_text_line_has_the_form_of_php_fpm(utc):
    """Existing log parsers read `[21-Nov-2026 10:00:00] NOTICE: [pool shop] …`."""
    assert text_of("child 123 started", created=NOV_21, pool="shop") == (
        "[21-Nov-2026 10:00:00] NOTICE: [pool shop] child 123 started"
    )
    assert text_of("fpm is running, pid 7", created=NOV_21) == (
        "[21-Nov-2026 10:00:00] NOTICE: fpm is running, pid 7"
    )


def test_message_of_line_breaks_is_thinned_out():
    """64 KiB of them would be megabytes of prefixes; the beginning and the end remain."""
    lines = text_of("first\n" + "\n" * 65_536 + "last", pool="shop").split("\n")
    assert len(lines) == 201
    assert lines[0].endswith("] NOTICE: [pool shop] first")
    assert lines[100].endswith("[pool shop] … 65338 lines left out …")
    assert lines[-1].endswith("[pool shop] last")
    whole = text_of("\n".join(map(str, range(200)))).split("\n")
    assert len(whole) == 200


@pytest.mark.parametrize("code", [0x202E, 0x2066, 0x200F, 0x061C, 0xFEFF])
def test_direction_of_writing_cannot_be_turned(code):
    """A line that reads backwards looks like another one than it is."""
    for form in (text_of, json_of):
        line = form(f"a{chr(code)}b")
        assert chr(code) not in line
        assert f"a\\u{code:04x}b" in line


def test_debug_lines_show_microseconds(utc):
    """As PHP-FPM does at log_level debug."""
    line = text_of("m", Level.DEBUG, created=NOV_21)
    assert line == "[21-Nov-2026 10:00:00.250000] DEBUG: m"


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (Level.DEBUG, "DEBUG"),
        (logging.INFO, "DEBUG"),
        (Level.NOTICE, "NOTICE"),
        (Level.WARNING, "WARNING"),
        (Level.ERROR, "ERROR"),
        (Level.ALERT, "ALERT"),
        (Level.ALWAYS, "NOTICE"),
        (1, "DEBUG"),
    ],
)
def test_levels_are_written_in_words_of_php_fpm(number, name):
    """What workers print is a NOTICE; INFO of a library is no notice of ours."""
    assert name_of(number) == name
    assert f"] {name}: " in text_of("m", number)


@pytest.mark.parametrize("word", ["debug", "notice", "warning", "error", "alert", "NOTICE"])
def test_level_words_of_the_configuration_are_known(word):
    """log_level takes PHP-FPM's words."""
    assert Level.named(word).name == word.upper()


@pytest.mark.parametrize("word", ["", "info", "critical", "always", "25"])
def test_other_level_words_are_refused(word):
    """`always` is no level that an operator could set."""
    with pytest.raises(ValueError, match="no log level"):
        Level.named(word)


def test_every_line_of_a_traceback_has_its_own_prefix(utc):
    """Each physical line says whose it is."""
    lines = text_of("boot failed\n  File x\nValueError", created=NOV_21, pool="a").splitlines()
    prefix = "[21-Nov-2026 10:00:00] NOTICE: [pool a] "
    assert lines == [prefix + "boot failed", prefix + "  File x", prefix + "ValueError"]


@given(message=st.text(max_size=200))
def test_no_message_can_forge_a_line_or_move_a_terminal(message):
    """Whatever an application prints, each line begins with our prefix and shows its controls."""
    written = text_of(message, pool="shop", limit=4096)
    for line in written.split("\n"):
        assert re.match(r"\[\d\d-[A-Z][a-z]{2}-\d{4} [\d:]{8}\] NOTICE: \[pool shop\] ", line)
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", line)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\tb", "a\tb"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("naïve 😀", "naïve 😀"),
    ],
)
def test_control_characters_are_made_visible(text, shown):
    """An escape sequence in a log must not be run by the terminal that shows it; a tab may."""
    assert clean(text) == shown


def test_carriage_return_does_not_hide_what_stands_before_it():
    """A terminal would show the second half alone, over the first."""
    assert all("NOTICE: " in line for line in text_of("real\rfake").split("\n"))


def test_lines_are_cut_at_log_limit():
    """log_limit is the length of a whole line, with dots where something is missing."""
    line = text_of("x" * 5000, limit=200)
    assert len(line) == 200
    assert line.endswith("xxx...")
    assert not text_of("x" * 100, limit=200).endswith(".")


@given(text=st.text(max_size=3000), limit=st.integers(100, 700))
def test_what_a_worker_prints_is_continued_on_the_next_line(text, limit):
    """Nothing of it is lost, no line is longer than log_limit, and each has the prefix."""
    if len(text.splitlines()) > LINES_MOST:
        return
    prefix = text_of("", pool="shop", event="output")
    lines = text_of(text, pool="shop", event="output", limit=limit).split("\n")
    assert max(map(len, lines)) <= limit
    assert all(line[len("[21-Nov-2026 10:00:00]") :].startswith(prefix[22:]) for line in lines)
    shown = "".join(line[len(prefix) :] for line in lines)
    assert shown == "".join(map(clean, text.splitlines()))


# What ends a line for some readers, what is made visible, what is longer in the log than it was.
_LINE = st.text(st.sampled_from("ab é€\t\r\x0b\x0c\x1b\x85\u2028\u202e\x7f'\\"), max_size=90)


@given(lines=st.lists(_LINE, min_size=1, max_size=8), limit=st.integers(60, 120))
@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_lines_of_a_worker_look_the_same_together_as_each_alone(formatter, lines, limit):
    """However many come in one record: what one of them has changes nothing in another."""

    def written(message):
        record = record_of(message, created=NOV_21, pool="shop", event=OUTPUT)
        record.fields = {"stream": "stdout", "pid": 7}
        return formatter(limit).format(record)

    assert written("\n".join(lines)) == "\n".join(map(written, lines))


@given(lines=st.lists(_LINE, min_size=1, max_size=8))
def test_lines_of_a_worker_are_counted_as_they_are_written(lines):
    """Together they cost what they cost alone, but for the write."""
    text = "\n".join(lines)
    written = text_of(text, pool="shop", event=OUTPUT, limit=100_000).split("\n")
    assert count_output_lines(text) == len(written) == sum(map(count_output_lines, lines))


def test_line_of_a_worker_is_thinned_out_without_the_others_beside_it():
    """One of 65,536 form feeds does not make those before and after it disappear."""
    lines = [*map(str, range(100)), "\x0c" * 65_536, *map(str, range(100, 200))]
    written = text_of("\n".join(lines), event=OUTPUT).split("\n")
    shown = [line.partition("NOTICE: ")[2] for line in written]
    assert [text for text in shown if text.isdigit()] == list(map(str, range(200)))
    assert len(shown) == count_output_lines("\n".join(lines)) == 200 + LINES_MOST + 1


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\x0c", "\u2028"])
@pytest.mark.parametrize("lines", [0, 1, 2, LINES_MOST, 40 * LINES_MOST])
def test_lines_of_a_message_are_counted_as_they_are_written(separator, lines):
    """Who pays for them by the line pays for what there is, but for the line that says more."""
    text = separator.join(["x"] * lines)
    written = len(text_of(text).split("\n"))
    assert count_lines(text) == written - (lines > LINES_MOST)


@given(text=st.text(max_size=50), most=st.integers(3, 60))
def test_cut_never_exceeds_its_limit_and_keeps_short_text(text, most):
    """A text that fits is not touched."""
    shorter = cut(text, most)
    assert len(shorter) <= most
    assert shorter == text or (len(text) > most and shorter.endswith("..."))


@given(message=st.text(max_size=200))
def test_json_is_one_object_on_one_line_whatever_the_message_is(message):
    """A collector reads line by line, and so does a terminal."""
    line = json_of(message)
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    assert json.loads(line)["message"] == message


def test_json_object_has_the_promised_keys_and_the_fields_of_its_event(utc):
    """time, level, pool, pid, event, message, then what the event adds."""
    values = json.loads(
        json_of(
            "child 9 exited",
            Level.WARNING,
            created=NOV_21,
            pool="shop",
            event="worker_ended",
            worker_pid=9,
            fields={"pid": 9, "code": 3, "signal": None, "when": {1}},
        )
    )
    assert list(values)[:6] == ["time", "level", "pool", "pid", "event", "message"]
    assert values["time"] == "2026-11-21T10:00:00.250000+00:00"
    assert (values["level"], values["pool"], values["pid"]) == ("warning", "shop", 9)
    assert (values["event"], values["code"], values["when"]) == ("worker_ended", 3, "{1}")


def test_json_fields_of_an_event_cannot_replace_the_promised_keys():
    """An event's field named `message` does not hide the message."""
    values = json.loads(json_of("real", fields={"message": "other", "level": "none"}))
    assert (values["message"], values["level"]) == ("real", "notice")


def test_json_message_keeps_its_lines_and_is_cut_inside_the_object():
    """A traceback stays one value; cutting must not cut the object in two."""
    values = json.loads(json_of("a\nb" * 20_000, limit=200))
    assert values["message"].startswith("a\nb")
    assert values["message"].endswith("...")
    assert len(values["message"]) == 16 * 1024


def test_exception_of_a_library_is_shown_with_its_traceback():
    """The event loop logs its own failures with exc_info."""
    try:
        raise ZeroDivisionError("the reason")  # noqa: TRY301 - for its traceback
    except ZeroDivisionError as error:
        exc_info = (type(error), error, error.__traceback__)
    lines = text_of("task failed", exc_info=exc_info).splitlines()
    assert lines[0].endswith("task failed")
    assert lines[-1].endswith("ZeroDivisionError: the reason")
    assert "ZeroDivisionError: the reason" in json.loads(json_of("x", exc_info=exc_info))["message"]
