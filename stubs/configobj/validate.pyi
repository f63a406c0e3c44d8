# The parts of ConfigObj's validator that pyfpm uses.

from collections.abc import Callable, Mapping
from typing import Any

class ValidateError(Exception): ...

class Validator:
    def __init__(self, functions: Mapping[str, Callable[[Any], object]] = ...) -> None: ...
