"""The command that starts the new code of an upgrade.

It starts as a program of its own, twice: as a child of the running master, to rehearse, and then
by exec in the master's place. Both times it finds its state in a memfd.

Its interpreter is the master's own, with the options that the master was started with. It imports
pyfpm from where a new start would find it. The command line of that start is not used again: the
new master needs neither the configuration's files nor the folder in which somebody once typed
`pyfpm start`, so that after the exec there is nothing left that could be missing.
"""

import os
import sys
from collections.abc import Iterable
from enum import StrEnum

import pyfpm

# The rehearsal imports the runtime too, which the zygotes of the new code will come with: a process
# that is thrown away may do what a master never does.
# -P: the current folder is no place to import a root process's modules from. Where pyfpm stands
# comes first only if this interpreter would not look there by itself: a checkout that was found
# through the current folder, as `python -m pyfpm` does.
_PROGRAM = """\
import sys
if sys.argv[1] not in sys.path: sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "rehearse":
    import pyfpm.runtime.zygote
from pyfpm.master.resume import main
main(*sys.argv[2:])
"""


class Step(StrEnum):
    """What the new code is started for."""

    REHEARSE = "rehearse"
    RESUME = "resume"


def successor_command(step: Step, state_fd: int) -> list[str]:
    """The new code, with the state in the descriptor `state_fd`."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(pyfpm.__file__)))
    options = [option for option in interpreter_options(sys.orig_argv) if option != "-P"]
    return [sys.executable, *options, "-P", "-c", _PROGRAM, folder, step.value, str(state_fd)]


def interpreter_options(command: Iterable[str]) -> list[str]:
    """The options in a command of Python that are the interpreter's own, such as `-E -X dev`."""
    found: list[str] = []
    words = iter(list(command)[1:])
    for word in words:
        if len(word) < 2 or not word.startswith("-"):
            break
        if word.startswith("--"):
            found += [word, next(words, "")] if word == "--check-hash-based-pycs" else [word]
            continue
        plain, ending = _split(word)
        if ending[:1] in ("m", "c"):  # what follows is the program
            found += [f"-{plain}"] if plain else []
            break
        found.append(word)
        if ending in ("W", "X"):
            found.append(next(words, ""))
    return found


def _split(word: str) -> tuple[str, str]:
    """`-IBmpyfpm` into `IB` and `mpyfpm`: the letters, and the first one that takes a value."""
    at = next((at for at, letter in enumerate(word) if letter in "cmWX"), len(word))
    return word[1:at], word[at:]
