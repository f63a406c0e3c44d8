"""The wording of what is wrong with a section or a whole file, all of it at once."""

import pytest
from config_text import POOL, problems_of

from pyfpm.config import load_config
from pyfpm.errors import ConfigError

_SECTIONS = "There are [pyfpm], [pool-defaults], [pool:NAME] and [include]"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["f.conf: no pool at all; add a [pool:NAME] section"]),
        (
            "[pool:a]\n",
            [
                "f.conf:1: [pool:a] app: is required; write module:callable",
                "f.conf:1: [pool:a] listen: is required; write one or several addresses",
            ],
        ),
        (
            "[pool:a]\napp = shop\nlisten = here\n",
            [
                ("f.conf:2: [pool:a] app: 'shop' is not module:callable; write it as shop:app"),
                (
                    "f.conf:3: [pool:a] listen: 'here' is no address; write /path, unix:/path,"
                    " host:port, [::1]:port or a port"
                ),
            ],
        ),
        (
            POOL + POOL,
            [
                (
                    "f.conf:4: [pool:shop]: stands twice, first at /etc/pyfpm/f.conf:1;"
                    " rename it or leave one of them out"
                )
            ],
        ),
        (
            POOL + "directory = /a\nchdir = /b\n",
            [
                (
                    "f.conf:5: [pool:shop] chdir: is another name of directory and set already at"
                    " /etc/pyfpm/f.conf:4; leave one of them out"
                )
            ],
        ),
        (
            POOL + "[pool:-x]\napp = a:b\nlisten = /x\n",
            [
                (
                    "f.conf:4: [pool:-x]: '-x' is not a pool's name: at most 63 letters, digits and"
                    " _ . -, the first a letter or digit"
                )
            ],
        ),
        (
            POOL + "[pyfpm]\nstatsd = 5\nlog_limit = 5\ncontrol = $pool\nlisten = 9\n",
            [
                "f.conf:5: [pyfpm] statsd: not supported yet; remove it",
                (
                    "f.conf:6: [pyfpm] log_limit: 5 is out of range;"
                    " write a number from 512 to 2147483647"
                ),
                (
                    "f.conf:7: [pyfpm] control: $pool is the name of a pool and means nothing"
                    " outside of one"
                ),
                "f.conf:8: [pyfpm] listen: stands in the wrong section; it belongs in [pool:NAME]",
            ],
        ),
        (
            "[pool-defaults]\npm = fast\n" + POOL + "[pool:b]\napp = a:b\nlisten = /b\n",
            ["f.conf:2: [pool-defaults] pm: 'fast' is not one of static, dynamic, ondemand"],
        ),
    ],
)
def test_wrong_section_is_named_with_what_would_be_right(text, problems):
    """Problems of sections and of several entries, all at once and in the order of the file."""
    assert problems_of(text) == problems


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("www", "pool:www"),
        ("pyfmp", "pyfpm"),
        ("global", "pyfpm"),
        ("DEFAULT", "pool-defaults"),
        ("pool-default", "pool-defaults"),
        ("includes", "include"),
        ("pol:shop", "pool:shop"),
    ],
)
def test_unknown_section_is_refused_with_a_guess(name, guess):
    """The guess is what the writer most likely meant."""
    assert problems_of(f"{POOL}[{name}]\nx = 1\n") == [
        f"f.conf:4: [{name}]: unknown section, did you mean [{guess}]? {_SECTIONS}"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "program:x",
        "fcgi-program:x",
        "group:x",
        "supervisord",
        "unix_http_server",
        "inet_http_server",
        "inet_http_server:two",
        "supervisorctl",
        "rpcinterface:supervisor",
    ],
)
def test_supervisors_sections_are_refused_as_a_whole(name):
    """One problem for the section, none for its keys."""
    assert problems_of(f"{POOL}[{name}]\ncommand = x\n") == [
        f"f.conf:4: [{name}]: supervisor's sections are not supported yet; remove it"
    ]


def test_event_listeners_are_refused_for_good():
    """There are no events to listen to."""
    assert problems_of(f"{POOL}[eventlistener:x]\ncommand = x\n") == [
        (
            "f.conf:4: [eventlistener:x]: pyfpm has no events to listen to and will have none;"
            " let supervisor run this section"
        )
    ]


def test_file_that_cannot_be_read_is_a_problem_of_its_own(tmp_path):
    """A missing file and a folder give the reason, and nothing else."""
    for path, reason in (
        (f"{tmp_path}/none.conf", "no such file or directory"),
        (str(tmp_path), "is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {}, is_root=False)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_all_problems_come_at_once_in_the_order_of_the_file():
    """The form, the keys, the values and the rules are all checked before anything is reported."""
    lines = [
        "k = v",
        "[pyfpm]",
        "junk",
        "log_level = loud",
        "[pool:a]",
        "app = nonsense",
        "listen = 0.0.0.0:9000",
        "pm.min_spare_servers = 99",
        "pm.max_children = 4",
        "bogus = 1",
    ]
    numbers = [line.split(":")[1] for line in problems_of("\n".join(lines))]
    assert numbers == ["1", "3", "4", "6", "7", "8", "10"]


@pytest.mark.parametrize(
    ("header", "guess"),
    [
        ("PYFPM", "pyfpm"),
        ("Pool-Defaults", "pool-defaults"),
        ("Pool:x", "pool:x"),
        ("pools:x", "pool:x"),
        ("pool", "pool:NAME"),
        ("pools", "pool:pools"),
        ("includes", "include"),
        ("www", "pool:www"),
        ("global", "pyfpm"),
    ],
)
def test_section_that_is_unknown_comes_with_the_one_that_was_meant(header, guess):
    """Other spellings and the names of PHP-FPM."""
    (problem,) = problems_of(f"[{header}]\n" + POOL)
    assert problem.startswith(f"f.conf:1: [{header}]: unknown section, did you mean [{guess}]? ")


def test_include_of_php_fpm_comes_with_the_section():
    """Before any section, where PHP-FPM has it."""
    (problem,) = problems_of("include=pools.d/*.conf\n" + POOL)
    assert problem == (
        "f.conf:1: include stands before any section;"
        " write [include], and below it files = pools.d/*.conf"
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_file_in_utf_16_is_one_problem(tmp_path, encoding):
    """Not one for every line."""
    file = tmp_path / "f.conf"
    file.write_bytes(("\ufeff" + POOL).encode(encoding))
    with pytest.raises(ConfigError) as caught:
        load_config(str(file), {}, is_root=False, check_system=False)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{file}:1: the file is UTF-16; save it as UTF-8"
    ]
