"""A configuration from text, without a look at this machine: its values, problems and notices."""

import pytest

from pyfpm.config import load_config
from pyfpm.errors import ConfigError

POOL = "[pool:shop]\napp = shop:app\nlisten = /run/shop.sock\n"


def load(text, environ=None, *, is_root=False, cores=4):
    """A configuration from text, without a look at this machine."""
    return load_config(
        "/etc/pyfpm/f.conf",
        environ or {},
        is_root=is_root,
        check_system=False,
        cores=cores,
        text=text,
    )


def pool_of(text, environ=None, **options):
    """The pool `shop`, from POOL and further lines."""
    return load(POOL + text, environ, **options).pools["shop"]


def problems_of(text, environ=None):
    """The problems of a text as lines, the file's name cut to its last part."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    return [str(problem).removeprefix("/etc/pyfpm/") for problem in caught.value.problems]


def notices_of(text):
    """The notices of POOL and further lines."""
    return [str(notice).removeprefix("/etc/pyfpm/") for notice in load(POOL + text).notices]
