"""The configuration: read, checked as a whole, and handed on as frozen values.

The way of a file: `reader` (bytes to sections, by way of `dialect`, the pre-pass, and ConfigObj),
`includes`, `sections` (which option a key sets), `expansion` and `validation` (text to values),
`defaults`, `rules` (values against each other), `machine` (values against this machine, with a
module for each part of it), and `loading`, which calls them in this order and collects what they
complain about. What an option is called, means and defaults to is declared in `options`; `dump` and
`reference` put it in words.
"""

from pyfpm.config.addresses import (
    Address,
    ListenAddress,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    format_address,
    is_loopback,
    open_to_all,
    parse_address,
)
from pyfpm.config.dump import render_dump
from pyfpm.config.file import ConfigFile
from pyfpm.config.loading import Config, find_control_path, load_config, load_text
from pyfpm.config.options import (
    MAIN,
    POOL,
    MainOptions,
    Option,
    PoolOptions,
    Reload,
    Scope,
    find_option,
)
from pyfpm.config.reference import render_option, render_reference, render_sample
from pyfpm.config.snapshot import restore_main, restore_pool, snapshot_options
from pyfpm.config.values import (
    AppPath,
    Interface,
    Isolation,
    LogFormat,
    LogLevel,
    Preload,
    Sandbox,
    Share,
    guess_app,
    parse_app_path,
)

__all__ = [
    "MAIN",
    "POOL",
    "Address",
    "AppPath",
    "Config",
    "ConfigFile",
    "Interface",
    "Isolation",
    "ListenAddress",
    "LogFormat",
    "LogLevel",
    "MainOptions",
    "Option",
    "PoolOptions",
    "Preload",
    "Reload",
    "Sandbox",
    "Scope",
    "Share",
    "SystemdAddress",
    "TcpAddress",
    "UnixAddress",
    "find_control_path",
    "find_option",
    "format_address",
    "guess_app",
    "is_loopback",
    "load_config",
    "load_text",
    "open_to_all",
    "parse_address",
    "parse_app_path",
    "render_dump",
    "render_option",
    "render_reference",
    "render_sample",
    "restore_main",
    "restore_pool",
    "snapshot_options",
]
