"""Loading the application that `app =` names.

What goes wrong here is the operator's first contact with a broken deploy, so the text says which
line of the configuration named the application, and shows the traceback without the frames of
pyfpm and of the import system.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pyfpm.errors import SpawnError
from pyfpm.messages import BootDocument

Application = Callable[..., Any]


def load_application(document: BootDocument) -> Application:
    """Import the module and fetch the callable; SpawnError with the text for the log.

    The pool's directory goes first on sys.path, as it would for `python -m` there.
    """
    if sys.path[:1] != [document.directory]:  # further down it would not win
        sys.path.insert(0, document.directory)
    where = f"{document.app_origin}: app = {document.app_module}:{document.app_attribute}"
    try:
        target: Any = importlib.import_module(document.app_module)
    except ModuleNotFoundError as error:
        if _is_the_module_itself(error.name, document.app_module):
            place = document.directory
            raise SpawnError(f"{where}: no module named {error.name!r} in {place}") from error
        raise SpawnError(f"{where}: import failed\n{traceback_text(error)}") from error
    except BaseException as error:  # a module may end with SystemExit as well as with an error
        if isinstance(error, KeyboardInterrupt):
            raise
        raise SpawnError(f"{where}: import failed\n{traceback_text(error)}") from error
    for name in document.app_attribute.split("."):
        try:
            target = getattr(target, name)
        except AttributeError as error:
            raise SpawnError(f"{where}: {_describe(target)} has no attribute {name!r}") from error
    if not callable(target):
        raise SpawnError(f"{where}: not callable, it is {type(target).__name__}")
    if _is_asgi(target):
        raise SpawnError(f"{where}: an ASGI application; interface asgi is not supported yet")
    application: Application = target
    return application


def _is_the_module_itself(missing: str | None, wanted: str) -> bool:
    """Whether the module that is missing is the wanted one or a package on the way to it."""
    return missing is not None and (wanted == missing or wanted.startswith(missing + "."))


def _describe(target: object) -> str:
    name = getattr(target, "__name__", None)
    return f"module {name!r}" if inspect.ismodule(target) else f"{name or target!r}"


def _is_asgi(target: Any) -> bool:
    return inspect.iscoroutinefunction(target) or (
        not inspect.isfunction(target)
        and not inspect.isclass(target)
        and inspect.iscoroutinefunction(type(target).__call__)
    )


def traceback_text(error: BaseException) -> str:
    """The traceback as text, from the first frame that is the application's own.

    Whole, where no frame is: then the mistake is that the application did not do something. A
    module that cannot be compiled has no frame either, and the error itself names file and line.
    """
    frames = _skip_frames(error)
    if frames is None and isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error))
    frames = frames or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, frames))


def _skip_frames(error: BaseException) -> TracebackType | None:
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_globals.get("__name__", "")
        if not (name.startswith(("pyfpm.", "importlib"))):
            return frame
        frame = frame.tb_next
    return None
