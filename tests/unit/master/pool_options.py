"""Options of one pool, as loaded from a few lines of configuration."""

import os

from pyfpm.config import load_config


def make_options(folder, *lines, environ=None):
    """Load a pool `shop` of `folder` with these lines; the rest are defaults."""
    text = "\n".join(["[pool:shop]", "app = shop:app", *lines, ""])
    config = load_config(
        str(folder / "pyfpm.conf"),
        {} if environ is None else environ,
        is_root=os.geteuid() == 0,
        allow_root=True,
        check_system=False,
        text=text,
    )
    return config.pools["shop"]
