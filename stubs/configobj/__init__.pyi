# The parts of ConfigObj 5.0.9 that pyfpm uses.

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configobj.validate import Validator

class ConfigObjError(SyntaxError):
    line: str
    line_number: int
    config: ConfigObj
    errors: list[ConfigObjError]

class ConfigObj(dict[str, Any]):
    scalars: list[str]
    sections: list[str]
    def __init__(
        self,
        infile: Sequence[str] | Mapping[str, object] = ...,
        *,
        configspec: ConfigObj | None = ...,
        interpolation: bool = ...,
        list_values: bool = ...,
        _inspec: bool = ...,
    ) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def validate(
        self, validator: Validator, *, preserve_errors: bool = ...
    ) -> bool | dict[str, Any]: ...

def flatten_errors(
    cfg: ConfigObj, res: bool | dict[str, Any]
) -> list[tuple[list[str], str, Exception | bool]]: ...
