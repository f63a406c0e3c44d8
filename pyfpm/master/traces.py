"""From faulthandler's dump to the stacks that people read.

CPython 3.11 to 3.14 write, newest thread first, so that the main thread is the last one:

    Thread 0x00007f0d (most recent call first):
      File "/srv/shop.py", line 12 in checkout

The one that took the signal is the "Current thread"; 3.14 adds the thread's name in brackets;
"..." stands for what is beyond 100 calls or 100 threads. Whatever else there is (a hostile worker
may write anything) is kept as it is, within bounds, and what is shown of it is indented, so that
it cannot pass for the head of an entry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pyfpm.messages import InheritedDescriptor
from pyfpm.units import counted

_THREAD = re.compile(
    r"(?P<kind>Current thread|Thread) (?P<ident>0x[0-9a-f]+)(?: \[(?P<name>.*)\])?"
    r" \(most recent call first\):"
)
_CALL = re.compile(r'  File (?:"(?P<file>.*)"|\?\?\?), line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
_CUT = "..."
_MOST_THREADS = 101
_MOST_LINES = _MOST_THREADS * 104
_MOST_CHARACTERS = 2048
# Under which path a worker's interpreter has imported the runtime.
_RUNTIME = f"/proc/self/fd/{int(InheritedDescriptor.PACKAGE)}/"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a stack: where it stands now."""

    function: str
    file: str
    line: str

    def __str__(self) -> str:
        file = self.file
        if file.startswith(_RUNTIME):
            file = f"pyfpm/{file.removeprefix(_RUNTIME)}"
        return f"{self.function}() {file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread. `calls` begin with the newest; a line that is no call is kept as text.

    `is_main` is the thread that runs requests. `ident` is empty for text outside of any thread.
    """

    ident: str
    name: str = ""
    is_current: bool = False
    is_main: bool = False
    calls: tuple[Call | str, ...] = ()
    is_cut: bool = False

    @property
    def is_minder(self) -> bool:
        """Whether it is pyfpm's own, which gives parked connections away."""
        calls = [call for call in self.calls if isinstance(call, Call)]
        ours = [call for call in calls if not call.file.endswith("/threading.py")]
        return bool(ours) and ours[-1].file == f"{_RUNTIME}runtime/minder.py"


def parse_stacks(text: str) -> list[Thread]:
    """The threads of a dump in its own order; never raises, whatever the text is."""
    threads: list[Thread] = []
    calls: list[Call | str] = []
    more_threads = False
    for line in text.split("\n", _MOST_LINES):
        line = line[:_MOST_CHARACTERS].rstrip()  # noqa: PLW2901 - the same line, made handy
        found = _THREAD.fullmatch(line)
        if found:
            _close(threads, calls)
            if len(threads) == _MOST_THREADS:
                more_threads = True
                break
            threads.append(_thread_of(found))
        elif line == _CUT:
            more_threads = True
        elif line:
            calls.append(_call_of(line))
    _close(threads, calls)
    if threads and threads[-1].ident and not more_threads:
        threads[-1] = replace(threads[-1], is_main=True)
    return threads


def _thread_of(found: re.Match[str]) -> Thread:
    current = found["kind"] == "Current thread"
    return Thread(found["ident"], name=found["name"] or "", is_current=current)


def _call_of(line: str) -> Call | str:
    found = _CALL.fullmatch(line)
    if found is None:
        return line.strip()
    return Call(found["name"], found["file"] or "???", found["line"])


def _close(threads: list[Thread], calls: list[Call | str]) -> None:
    """Give what was collected to the thread that it stood below."""
    if not calls:
        return
    if not threads:
        threads.append(Thread(""))
    is_cut = calls[-1] == _CUT
    found = tuple(calls[:-1] if is_cut else calls)
    threads[-1] = replace(threads[-1], calls=found, is_cut=is_cut)
    calls.clear()


def render_stacks(threads: Iterable[Thread], depth: int) -> str:
    """The main thread, then the others; of each the `depth` newest calls, the newest last.

    Without the minder, which is pyfpm's own and does the same in every worker.
    """
    shown = [thread for thread in threads if not thread.is_minder]
    ordered = sorted(shown, key=lambda thread: not thread.is_main)  # a stable sort
    return "\n".join(line for thread in ordered for line in _lines_of(thread, depth))


def _lines_of(thread: Thread, depth: int) -> list[str]:
    calls = _without_runtime(thread)
    shown = [f"  {call}" for call in reversed(calls[:depth])]
    older = len(calls) - len(shown)
    if older or thread.is_cut:
        least = "at least " if thread.is_cut else ""
        left_out = f"{least}{counted(older, 'older call')}" if older else "older calls"
        shown.insert(0, f"  ... {left_out} left out")
    return [f"{_title_of(thread)}, newest call last:", *shown]


def _without_runtime(thread: Thread) -> tuple[Call | str, ...]:
    """The calls of the application: those of pyfpm below it are always the same.

    Where nothing but pyfpm runs, they are what one wants to see.
    """
    calls = thread.calls
    below = len(calls)
    while below and _is_runtime(calls[below - 1]):
        below -= 1
    return calls[:below] or calls


def _is_runtime(call: Call | str) -> bool:
    return isinstance(call, Call) and call.file.startswith((_RUNTIME, "<string>"))


def _title_of(thread: Thread) -> str:
    if not thread.ident:
        return "unknown thread"
    name = f" [{thread.name}]" if thread.name else ""
    if thread.is_main:
        return f"main thread {thread.ident}{name}"
    return f"thread {thread.ident}{name}"
