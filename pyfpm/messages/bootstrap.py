"""The first code that a pool's interpreter runs for pyfpm.

The runtime always comes from the master, never from the pool's venv: the descriptor
PACKAGE is the folder of the master's own package, opened with O_PATH. Reaching it through
/proc/self/fd needs no permission on the folders above it. Only the name `pyfpm` is bound, so
nothing else of the master's site-packages becomes importable.

The current folder, which `-c` puts first on sys.path, goes before anything is imported, for its
modules must not shadow the standard library while the runtime is imported. (The option -P would do
that too, but an interpreter too old for it fails before it can say so.)

The collector rests meanwhile, and never sees what is there afterwards: all of it stays. That takes
a quarter of the processor time out of the boot of a zygote.

The pool's environment may be empty, so PYFPM_PURE of the master arrives in the text itself. So
does process.dumpable: every exec makes a process dumpable again, and until this text takes that
back, other processes of the same user may trace it. Workers inherit what is set here.
"""

BOOTSTRAP = """\
import sys
if sys.version_info < (3, 11):
    version = sys.executable, *sys.version_info[:2]
    sys.exit("%s is Python %d.%d; pyfpm needs 3.11 or later" % version)
if sys.path[:1] == [""]:
    del sys.path[0]
import gc
gc.disable()
from importlib.util import module_from_spec, spec_from_file_location
home = "/proc/self/fd/5"
spec = spec_from_file_location("pyfpm", home + "/__init__.py", submodule_search_locations=[home])
module = sys.modules["pyfpm"] = module_from_spec(spec)
spec.loader.exec_module(module)
from pyfpm.runtime.zygote import main
gc.freeze()
gc.enable()
main()
"""

_IMPORT_RUNTIME = "from pyfpm.runtime.zygote import main\n"
_STAY_PLAIN = """\
from pyfpm.form import form
form.stay_plain("PYFPM_PURE is set for the master")
"""


_MAIN = "main()\n"
_BEGIN = "import gc\n"
# PR_SET_DUMPABLE of prctl(2), before anything else: with pyfpm.kernel it would come far later.
_BE_UNDUMPABLE = """\
from ctypes import CDLL
if CDLL(None).prctl(4, 0, 0, 0, 0):
    sys.exit("process.dumpable = no: the kernel refuses")
"""


def bootstrap(*, stay_plain: bool, dumpable: bool = True) -> str:
    """The text; `stay_plain` keeps the compiled modules out, whatever lies in the package.

    Without `dumpable` no other process of the same user may trace or read this one.
    """
    text = BOOTSTRAP
    if stay_plain:
        text = text.replace(_IMPORT_RUNTIME, _STAY_PLAIN + _IMPORT_RUNTIME)
    return text if dumpable else text.replace(_BEGIN, _BE_UNDUMPABLE + _BEGIN, 1)


def rehearsal(*, too_old: int, complete: int) -> str:
    """As `bootstrap`, for `check`: exits with one of the codes where the zygote would begin.

    Anything else is an interpreter that cannot run pyfpm; its words are on stderr.
    """
    first, rest = BOOTSTRAP.split("\n", 1)
    check = f"if sys.version_info < (3, 11): sys.exit({too_old})\n"
    return f"{first}\n{check}{rest.removesuffix(_MAIN)}sys.exit({complete})\n"
