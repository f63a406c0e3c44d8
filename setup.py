"""Builds pyfpm, and its compiled form where that is possible.

Each module with a `.pxd` beside it is translated by Cython, and all of them are linked into one
shared object, `pyfpm/_compiled.cpython-311-….so`. `pyfpm/form.py` says how that is used and why it
is one file. Where it cannot be built, the install succeeds, one line says why, and the `.py` files
run. PYFPM_COMPILE=required makes that a failure, as for wheels; PYFPM_COMPILE=no does not try.
"""

import os
import sys
import sysconfig
from importlib.util import source_hash
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("pyfpm")
SHARED_OBJECT = "pyfpm._compiled"
WISH = os.environ.get("PYFPM_COMPILE", "")
if WISH not in ("", "no", "required"):
    sys.exit(f"PYFPM_COMPILE is {WISH!r}; write no or required, or leave it empty")

DIRECTIVES = {
    "language_level": 3,
    # What the plain form does about a bad index, a negative one, None or a sum beyond the width of
    # a C integer, the compiled form does too.
    "boundscheck": True,
    "wraparound": True,
    "nonecheck": True,
    "overflowcheck": True,
    "cdivision": False,
    # Types come from the .pxd files alone: an annotation `bytes` would refuse a bytearray that the
    # plain form takes.
    "annotation_typing": False,
    "auto_pickle": False,
}

# No debug symbols: they would be nine tenths of the file. Functions of the set call each other
# directly, which no library loaded before may change.
COMPILE_ARGUMENTS = ["-O2", "-g0", "-fno-semantic-interposition"]


class BuildCompiledForm(build_ext):
    """Builds the shared object, or says in one line why there is none."""

    def build_extension(self, ext: Extension) -> None:
        """Translate and compile; without success there is no file, not an old one either."""
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        if WISH == "no":
            return
        try:
            self.force = True  # an old object file may come from other sources
            ext.sources = translate(Path(self.build_temp))
            super().build_extension(ext)
        # Whatever goes wrong, in Cython, the compiler or on the disk: the plain form runs. Where
        # distutils misses something, it raises SystemExit.
        except (Exception, SystemExit) as error:
            if WISH == "required":
                raise
            # The end says why; before it a compiler's whole command may stand.
            reason = " ".join(str(error).split())[-300:] or type(error).__name__
            sys.stderr.write(f"pyfpm: not compiled, the plain form will run: {reason}\n")


def translate(folder: Path) -> list[str]:
    """Translate every hot module to C below `folder`; return the files to compile."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise RuntimeError("this interpreter has no GIL, on which the compiled form relies")
    if sys.maxsize < 2**32:
        raise RuntimeError("two lengths of a pair may exceed a size of this machine")
    from Cython.Build import cythonize  # noqa: PLC0415 - missing without build isolation

    hot = {
        ".".join(types.with_suffix("").parts): types.with_suffix(".py")
        for types in sorted(PACKAGE.rglob("*.pxd"))
    }
    sources = {name: source_hash(file.read_bytes()) for name, file in hot.items()}
    index = folder / "translated" / "_compiled.pyx"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_text(f"SOURCES = {sources!r}\n")
    extensions = cythonize(
        [Extension(name, [str(file)]) for name, file in hot.items()]
        + [Extension(SHARED_OBJECT, [str(index)])],
        build_dir=str(folder / "translated"),
        compiler_directives=DIRECTIVES,
        force=True,
        quiet=True,
    )
    return [str(write_unit(folder, ext)) for ext in extensions]


def write_unit(folder: Path, extension: Extension) -> Path:
    """A C file that includes a translated module under a name that is unique in the set."""
    name = extension.name
    unit = folder / f"{name.replace('.', '_')}.c"
    text = f'#include "{Path(extension.sources[0]).resolve()}"\n'
    if name != SHARED_OBJECT:
        last = name.rpartition(".")[2]
        text = f"#define PyInit_{last} PyInit_{name.replace('.', '_')}\n{text}"
    unit.write_text(text)
    return unit


setup(
    ext_modules=[
        Extension(
            SHARED_OBJECT,
            sources=[],
            extra_compile_args=COMPILE_ARGUMENTS,
            define_macros=[("CYTHON_CLINE_IN_TRACEBACK", "0")],
            optional=WISH != "required",
        )
    ],
    cmdclass={"build_ext": BuildCompiledForm},
)
