"""The options in words: the reference page, the answer to `pyfpm options NAME`, the sample file."""

import textwrap
from collections.abc import Iterator

from pyfpm.config.options import MAIN, POOL, Option, Scope
from pyfpm.config.options.table import Group

_INTRODUCTION = """\
# Options

This page is generated from the table of options that the program itself runs on.

A configuration file has the sections `[pyfpm]` for the master, `[pool:NAME]` for each pool,
`[pool-defaults]` for what pools share, and `[include]`, whose `files` names further files by
patterns, relative to the file it stands in. Included files are read in the order of their names
and cannot include others. A section stands once; so does a key in its section.

* `;` and `#` start a comment at the beginning of a line or after white space, within quotes too.
* `key = value` and `key: value` are the same. Keys are not case-sensitive, but `NAME` in
  `env[NAME]` is. Lines indented deeper than a key continue its value. Lines of a key that ends in
  `[]` add up.
* `%(here)s` is the folder of the file, `%(ENV_NAME)s` a variable of the master's environment,
  `$pool` the name of the pool, and `%%` a percent sign. Any other `%` stands for itself.
* Relative paths start from the folder of the file they stand in.
* Times are written `30` or `30s`, `500ms`, `5m`, `1h30m`, `2d`; sizes `512`, `64KB`, `1M`, `1GiB`,
  in powers of 1024; modes in octal; yes and no also as on, off, true, false, 1 and 0.
* A pool's name has at most 63 letters, digits and `_ . -`, the first a letter or digit.
* `key =` without a value means the default, whatever `[pool-defaults]` says, for options whose
  default is computed or nothing.

`[pool-defaults]` takes every key of `[pool:NAME]`; a pool's own value wins. An option that is
*not supported yet* is refused. `pyfpm check --dump` shows every value in effect and where it comes
from; a default, or a value of `[pool-defaults]`, that has no effect in a pool is a comment there,
with the reason.
"""

_SAMPLE_HEAD = """\
; The configuration of pyfpm. Lines that begin with ; are comments; those that look like settings
; show the defaults. `pyfpm check` says whether the file is right, `pyfpm options NAME` explains.

[include]
files = pools.d/*.conf
"""


def render_reference() -> str:
    """The page docs/reference/options.md, in Markdown."""
    lines = [_INTRODUCTION]
    for scope in (MAIN, POOL):
        for group in scope.groups:
            lines += _table(scope, group)
    return "\n".join(lines)


def render_option(scope: Scope, option: Option) -> str:
    """One option in full, as plain text."""
    names = ", ".join((option.name, *option.aliases))
    lines = [f"{names}   in {scope.section}"]
    if option.planned:
        lines.append("not supported yet")
    else:
        lines += [f"value:   {option.kind.wants}", f"default: {_default(option, 'none')}"]
    return "\n".join([*lines, "", textwrap.fill(option.help, 80)]) + "\n"


def render_sample() -> str:
    """A commented pyfpm.conf that reads its pools from pools.d."""
    lines = [_SAMPLE_HEAD, "[pyfpm]"]
    lines += _sample_settings(MAIN)
    lines.append("; What pools share, unless they say otherwise.\n[pool-defaults]")
    lines += _sample_settings(POOL)
    return "\n".join(lines).rstrip() + "\n"


def _table(scope: Scope, group: Group) -> Iterator[str]:
    yield f"## `{scope.section}`: {group.title[0].lower()}{group.title[1:]}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    for option in group.options.values():
        key = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
        if option.planned:
            yield f"| {key} | | | *Not supported yet.* {option.help} |"
        else:
            default = _default(option, "")
            shown = f"`{default}`" if option.default else default
            yield f"| {key} | {option.kind.wants} | {shown} | {option.help} |"
    yield ""


def _default(option: Option, none: str) -> str:
    if option.required:
        return "required"
    return option.computed or option.default or none


def _sample_settings(scope: Scope) -> Iterator[str]:
    for option in scope.by_name.values():
        if option.planned or option.required:
            continue
        text = f"{option.help} Default: {option.computed}." if option.computed else option.help
        comment = textwrap.wrap(text, 96, initial_indent="; ", subsequent_indent="; ")
        yield "\n".join([*comment, f";{option.name} = {option.default or ''}".rstrip()]) + "\n"
