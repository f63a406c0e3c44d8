"""Which form of pyfpm runs in this process: the compiled one or the plain one.

There is one source. The hot modules, those with a `.pxd` beside their `.py`, are also compiled
where there is a compiler, all of them into one shared object: `_compiled.cpython-311-….so` for
CPython 3.11. Every other interpreter, and one for which nothing was built, runs the `.py` files.

**All or nothing.** Compiled classes know each other's layout in memory, so a process has all of
them or none. That is why they are in one file: it loads or it does not, and whichever hot module
is imported first settles it for the process. Importing pyfpm itself costs no look at a file.

A shared object that was built from other sources than those beside it is not used: in a clone
somebody edits a `.py` and expects that code to run, and an upgrade may have been cut short. It
carries a hash of each source, and all are compared, which takes half a millisecond.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec, source_hash, spec_from_file_location
from struct import Struct
from types import ModuleType

HOT = frozenset(
    {
        "pyfpm.cgi.environ",
        "pyfpm.cgi.layout",
        "pyfpm.cgi.lengths",
        "pyfpm.cgi.paths",
        "pyfpm.cgi.response",
        "pyfpm.fastcgi.events",
        "pyfpm.fastcgi.pairs",
        "pyfpm.fastcgi.records",
        "pyfpm.fastcgi.replies",
        "pyfpm.fastcgi.server",
        "pyfpm.fastcgi.stdin",
        "pyfpm.runtime.assembly",
        "pyfpm.runtime.connection",
        "pyfpm.runtime.connection_table",
        "pyfpm.runtime.departure",
        "pyfpm.runtime.engine",
        "pyfpm.runtime.exchange",
        "pyfpm.runtime.intake",
        "pyfpm.runtime.response",
        "pyfpm.runtime.wsgi",
        "pyfpm.scoreboard.seqlock",
        "pyfpm.scoreboard.slot",
    }
)

SHARED_OBJECT = "pyfpm._compiled"

# Of a 64-bit ELF header: where the section headers begin, the size of one, and how many there are.
_ELF_CLASS_64 = b"\x7fELF\x02"
_SECTIONS = Struct("=40xQ10xHH")
_ELF_HEADER_BYTES = 64


class FormFinder:
    """A finder for `sys.meta_path` that serves the hot modules of the package folder `home`."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._path = f"{home}/_compiled{EXTENSION_SUFFIXES[0]}"
        self._is_settled = False
        self.is_forced = False
        """Whether somebody wants the plain form, which then goes for the pools, too."""
        self.reason = ""
        """Why the plain form runs; empty where the compiled one does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The compiled module of that name; None leaves it to the finders behind, and the `.py`."""
        del path, target
        if name not in HOT:
            return None
        self.settle()
        if self.reason:
            return None
        loader = _SharedObjectLoader(name, self._path)
        return spec_from_file_location(name, self._path, loader=loader)

    def describe(self) -> str:
        """`compiled`, or `plain` and why; decides if nobody has yet."""
        self.settle()
        return f"plain: {self.reason}" if self.reason else "compiled"

    def stay_plain(self, reason: str) -> None:
        """Leave the hot modules to their `.py` files; called before the first is imported."""
        self.is_forced = True
        self._settle_for(reason)

    def settle(self) -> None:
        """Decide, once. Two threads at the same time come to the same decision."""
        if self._is_settled:
            return
        try:
            self._settle_for(self._find_objection())
        # Code of the file runs here, and a file that is damaged may raise anything.
        except Exception as error:  # noqa: BLE001
            self._settle_for(f"cannot load {self._path}: {error}")

    def _settle_for(self, reason: str) -> None:
        self.reason = reason
        self._is_settled = True
        if reason and self in sys.meta_path:
            sys.meta_path.remove(self)

    def _find_objection(self) -> str:
        if not os.path.exists(self._path):
            return "not built for this interpreter"
        _check_whole(self._path)
        loader = ExtensionFileLoader(SHARED_OBJECT, self._path)
        spec = spec_from_file_location(SHARED_OBJECT, self._path, loader=loader)
        assert spec is not None
        shared_object = module_from_spec(spec)
        loader.exec_module(shared_object)
        sources: dict[str, bytes] = shared_object.SOURCES
        changed = HOT ^ sources.keys() or {name for name in HOT if self._is_changed(name, sources)}
        if changed:
            return f"built from another {min(changed)} than the one that is here"
        return ""

    def _is_changed(self, name: str, sources: dict[str, bytes]) -> bool:
        file = f"{self._home}/{name.partition('.')[2].replace('.', '/')}.py"
        with open(file, "rb") as source:
            return source_hash(source.read()) != sources[name]


class _SharedObjectLoader(ExtensionFileLoader):
    """Loads one of the modules in the shared object.

    The interpreter looks for a function named after the last part of a module's name, and two of
    the modules are named `response`. So in there each is named after all parts (see setup.py).
    """

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = f"{spec.parent}.{spec.name.replace('.', '_')}"
        module = super().create_module(ModuleSpec(name, self, origin=self.path))
        module.__name__ = spec.name
        return module


def _check_whole(path: str) -> None:
    """ImportError for a file that was cut short: its missing pages would be SIGBUS, not an error.

    A linker puts the section headers at the end.
    """
    with open(path, "rb") as file:
        header = file.read(_ELF_HEADER_BYTES)
        if header.startswith(_ELF_CLASS_64) and len(header) == _ELF_HEADER_BYTES:
            start, size, count = _SECTIONS.unpack_from(header)
            if os.fstat(file.fileno()).st_size < start + size * count:
                raise ImportError("the file is cut short")


form = FormFinder(os.path.dirname(__file__))
"""The form of this process; its finder stands first, since a `.py` lies beside each hot module."""

if os.environ.get("PYFPM_PURE", "") not in {"", "0"}:
    form.stay_plain("PYFPM_PURE is set")
else:
    sys.meta_path.insert(0, form)
