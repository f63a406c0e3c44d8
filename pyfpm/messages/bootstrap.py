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

The pool's environment may be empty, so PYFPM_PURE of the master arrives in the text itself.
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


def bootstrap(*, stay_plain: bool) -> str:
    """The text; `stay_plain` keeps the compiled modules out, whatever lies in the package."""
    if not stay_plain:
        return BOOTSTRAP
    return BOOTSTRAP.replace(_IMPORT_RUNTIME, _STAY_PLAIN + _IMPORT_RUNTIME)
