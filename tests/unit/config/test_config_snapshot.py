"""Options survive the way through texts exactly, whatever values they have."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pyfpm.config import (
    MAIN,
    POOL,
    AppPath,
    Share,
    TcpAddress,
    UnixAddress,
    load_text,
    restore_main,
    restore_pool,
    snapshot_options,
)

# For each option that is supported, texts as an operator may write them.
SAMPLES = {
    "choices": ("auto", "wsgi", "on", "off", "persist", "request_uri", "static", "ondemand"),
    "numbers": ("0", "1", "7", "513", "65537", "-1", "20%", "100%", "0660", "022"),
    "times": ("1ms", "1500ms", "90s", "1h30m"),
    "sizes": ("1", "1000", "64K", "3G"),
    "words": ("yes", "no", "a", "www-data", "users, games", "debug", "json", "syslog"),
    "paths": ("/a path/with: everything, in it", "/status", "/shop", "10.0.0.0/8, fd00::1"),
    "others": ('A="1",B="x \\" \\\\ , y"', "site.wsgi:apps.shop", "9000 unix:/run/a.sock [::1]:9"),
}


TEXT = """\
[pyfpm]
control = control.sock
[pool:shop]
app = shop.wsgi:app
listen = ./a.sock
"""


def load():
    path = "/srv/a shop, and more/pyfpm.conf"
    return load_text(TEXT, path, {}, is_root=False, allow_root=True, check_system=False)


def valid_values(option):
    for texts in SAMPLES.values():
        for text in texts:
            try:
                yield option.kind.parse(text)
            except ValueError:
                continue


def test_every_default_comes_back() -> None:
    """What nobody set is the same afterwards, computed defaults and origin included."""
    config = load()
    pool = config.pools["shop"]
    assert pool.app.origin
    assert pool.listen == (UnixAddress("/srv/a shop, and more/a.sock"),)
    assert restore_pool("shop", snapshot_options(pool)) == pool
    assert restore_main(snapshot_options(config.main)) == config.main


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (scope, field)
        for scope in (MAIN, POOL)
        for field, option in scope.by_field.items()
        if not option.planned
    ],
    ids=lambda value: value if isinstance(value, str) else value.section,
)
def test_every_value_of_an_option_comes_back(scope, field) -> None:
    """Each option survives with each value that its kind knows."""
    config = load()
    tried = 0
    for value in valid_values(scope.by_field[field]):
        tried += 1
        if scope is MAIN:
            main = replace(config.main, **{field: value})
            assert restore_main(snapshot_options(main)) == main
        else:
            pool = replace(config.pools["shop"], **{field: value})
            assert restore_pool("shop", snapshot_options(pool)) == pool
    assert tried, "no sample is a value of this option: add one"


PATHS = some.text(
    some.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1
).map(lambda text: os.path.normpath(f"/srv/{text}"))
TIMES = some.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)


@given(
    paths=some.lists(PATHS, unique=True, min_size=1, max_size=3),
    pairs=some.dictionaries(some.from_regex(r"\A[A-Z_]{1,9}\Z"), some.text(), max_size=4),
    time_s=TIMES,
    size=some.integers(0, 2**40),
    percent=some.integers(1, 100),
)
def test_any_value_comes_back(paths, pairs, time_s, size, percent) -> None:
    """Paths with any character, any text in the environment, any number."""
    pool = replace(
        load().pools["shop"],
        listen=(*(UnixAddress(path) for path in paths), TcpAddress("::1", 9000)),
        environment=tuple(pairs.items()),
        app=AppPath("shop", "app.inner", f"{paths[0]}:7"),
        directory=paths[0],
        request_terminate_timeout=time_s,
        pm_max_memory=size,
        pm_max_requests_jitter=percent / 100,
        pm_reload_surge=Share(percent),
    )
    assert restore_pool("shop", snapshot_options(pool)) == pool


def test_an_option_that_the_texts_lack_has_its_default() -> None:
    """The texts of an older version know fewer options."""
    texts = snapshot_options(load().pools["shop"])
    del texts["pm.drain_timeout"]
    assert restore_pool("shop", texts).pm_drain_timeout == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pm.telepathy": "yes"}, r"no option 'pm.telepathy'"),
        ({"pm.max_children": "many"}, r"pm.max_children: 'many' is not a whole number"),
        ({"listen": '["nowhere"]'}, r"listen: 'nowhere'"),
    ],
)
def test_texts_that_are_not_understood_are_refused(changed, message) -> None:
    """An option of another version is no reason to guess."""
    texts = {**snapshot_options(load().pools["shop"]), **changed}
    with pytest.raises(ValueError, match=message):
        restore_pool("shop", texts)
