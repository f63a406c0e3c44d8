"""What a configuration may say about sockets, and what it is warned about."""

import os
import shutil
import tempfile

import pytest

from pyfpm.config import load_config
from pyfpm.config.addresses import parse_address, parse_network
from pyfpm.errors import ConfigError
from pyfpm.kernel.folders import find_exposure, way_to

STRANGER = 54321
FRIEND = 54322


@pytest.fixture
def place():
    """A folder that every user can enter, and that root alone can write."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="pyfpm-test-"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def load(place, *lines, listen="{0}/a.sock", main=(), **options):
    """A configuration of one pool `a` in `place`."""
    text = "\n".join(
        [
            *("[pyfpm]", "control = control.sock", *main),
            *("[pool:a]", "app = a:b", f"listen = {listen}", "python = /bin/sh", *lines),
        ]
    ).format(place)
    options = {"is_root": True, "allow_root": True, **options}
    return load_config(f"{place}/f", {}, text=text, **options)


def problems_of(place, *lines, **options):
    """The problems of such a configuration, without their files."""
    with pytest.raises(ConfigError) as caught:
        load(place, *lines, **options)
    return [str(problem).removeprefix(f"{place}/f:") for problem in caught.value.problems]


def notices_of(place, *lines, **options):
    notices = load(place, *lines, **options).notices
    return [str(notice).removeprefix(f"{place}/f:") for notice in notices]


def test_allowed_users_are_names_and_numbers(place):
    """A number needs no entry in /etc/passwd: a container may use it."""
    pool = load(place, "listen.allowed_users = root, 4242  nobody").pools["a"]
    assert pool.listen_allowed_users == ("root", "4242", "nobody")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no-such", "there is no user no-such; create it or name another"),
        ("4294967295", "4294967295 is no user's number; name another"),
        ("99999999999999999999", "99999999999999999999 is no user's number; name another"),
        ("-1", "there is no user -1; create it or name another"),
    ],
)
def test_allowed_users_that_nobody_can_be_are_refused(place, name, problem):
    """A typing error would keep the web server out, or let in whoever gets that name later."""
    assert problems_of(place, f"listen.allowed_users = root {name}") == [
        f"7: [pool:a] listen.allowed_users: {problem}"
    ]


def test_allowed_users_without_a_unix_socket_are_noticed(place):
    """TCP does not say who connects; what comes from [pool-defaults] is meant for other pools."""
    users = "listen.allowed_users = root"
    found = notices_of(place, users, listen="127.0.0.1:9000")
    assert len(found) == 1
    assert found[0].startswith("7: [pool:a] listen.allowed_users: has no effect without a Unix")
    assert not notices_of(place, "[pool-defaults]", users, listen="127.0.0.1:9000")
    assert not notices_of(place, users)
    assert not notices_of(place, users, listen="systemd:web")


def test_a_port_beside_the_socket_is_named_as_the_way_around_allowed_users(place):
    """Every local user can connect to a loopback port."""
    found = notices_of(
        place, "listen.allowed_users = root", listen="{0}/a.sock 127.0.0.1:9000 [::1]:9000"
    )
    assert found == [
        (
            "7: [pool:a] listen.allowed_users: does not hold for 127.0.0.1:9000, where every user"
            " of an admitted machine can connect; leave that address out, or set"
            " listen.allowed_clients"
        )
    ]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_ipv4_written_as_ipv6_is_a_network_of_ipv4(text, network):
    """As an IPv6 network it would never match: such clients are compared as IPv4."""
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("fe80::1%eth0", "'fe80::1%eth0' has a scope, and clients are told apart by their address"),
        ("10.1", "'10.1' is not an address or network"),
        ("localhost", "'localhost' is not an address or network"),
        ("010.0.0.1", "'010.0.0.1' is not an address or network"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not an address or network"),
        ("::ffff:10.0.0.1/104", "'::ffff:10.0.0.1/104' is an address inside a network"),
        ("10.0.0.0-10.0.0.9", "is not an address or network"),
        ("*", "'*' is not an address or network"),
    ],
)
def test_a_bad_entry_of_allowed_clients_is_an_error_with_its_line(place, entry, complaint):
    """PHP-FPM skips it and says so in a worker's log."""
    (problem,) = problems_of(
        place, f"listen.allowed_clients = 127.0.0.1, {entry}", listen="127.0.0.1:9000"
    )
    assert problem.startswith("7: [pool:a] listen.allowed_clients: ")
    assert complaint in problem


@pytest.mark.parametrize("text", ["@pyfpm", "unix:@pyfpm"])
def test_an_abstract_socket_is_refused_and_the_reason_named(text):
    """It has no mode: whoever shares the network namespace could connect."""
    with pytest.raises(ValueError, match="every user of this machine may connect; write /path"):
        parse_address(text)


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ("127.0.0.1:9000", False),
        ("127.8.8.8:9000", False),
        ("[::1]:9000", False),
        ("[::ffff:127.0.0.1]:9000", False),
        ("localhost:9000", False),
        ("9000", True),
        ("*:9000", True),
        ("0.0.0.0:9000", True),
        ("[::]:9000", True),
        ("10.0.0.1:9000", True),
        ("[fe80::1%lo]:9000", True),
        ("[::ffff:10.0.0.1]:9000", True),
        ("127.1:9000", True),
        ("web.example:9000", True),
        ("localhost.example:9000", True),
    ],
)
def test_only_loopback_may_listen_without_a_list(place, listen, is_open):
    """The message names the risk and the key; a name of which nothing is known counts as open."""
    if not is_open:
        assert load(place, listen=listen).pools
        return
    (problem,) = problems_of(place, listen=listen)
    assert "can be reached from other machines" in problem
    assert "runs requests with any parameters" in problem
    assert "set listen.allowed_clients, or listen on 127.0.0.1:9000" in problem
    assert load(place, "listen.allowed_clients = 10.0.0.1", listen=listen).pools


def test_owner_that_only_root_could_set_is_noticed(place):
    """The master starts, and says which keys it leaves aside."""
    lines = ("listen.owner = nobody", "listen.group = nogroup")
    main = ("control.owner = nobody", "control.group = nogroup")
    assert not notices_of(place, *lines, main=main)
    if os.geteuid() == 0 and 65534 in os.getgroups():
        pytest.skip("a root in all groups")
    assert notices_of(place, *lines, main=main, is_root=False) == [
        "3: [pyfpm] control.owner: is ignored, since the master is not root",
        (
            "4: [pyfpm] control.group: is ignored, since the master is not root and not a member of"
            " nogroup"
        ),
        "9: [pool:a] listen.owner: is ignored, since the master is not root",
        (
            "10: [pool:a] listen.group: is ignored, since the master is not root and not a member"
            " of nogroup"
        ),
    ]


def test_owner_that_anybody_can_set_is_not_noticed(place):
    """One's own user and group."""
    lines = (f"listen.owner = {os.geteuid()}", f"listen.group = {os.getegid()}")
    assert not notices_of(place, *lines, is_root=False)


def test_the_path_of_the_control_socket_has_the_same_bound(place):
    """Otherwise bind says only that it is too long, when the master starts."""
    path = "/" + "x" * 106
    text = "[pyfpm]\ncontrol = {}\n[pool:a]\napp = a:b\nlisten = /a\n"
    options = {"is_root": True, "allow_root": True, "check_system": False}
    assert load_config(f"{place}/f", {}, text=text.format(path), **options).pools
    with pytest.raises(ConfigError, match="has 108 bytes, and a socket's path at most 107"):
        load_config(f"{place}/f", {}, text=text.format(path + "y"), **options)


def make(path, mode, owner=0):
    os.mkdir(path)
    os.chmod(path, mode)
    if owner:
        os.chown(path, owner, owner)
    return path


def test_the_way_to_a_place_shows_every_folder_and_link(place):
    """What a link leads through counts as well; a link to itself ends the way."""
    make(f"{place}/a", 0o755)
    os.symlink("a/../a", f"{place}/link")
    os.symlink("loop", f"{place}/loop")
    assert list(way_to(f"{place}/link/x"))[-5:] == [
        f"{place}/link",
        f"{place}/a",
        place,
        f"{place}/a",
        f"{place}/a/x",
    ]
    assert list(way_to(f"{place}/loop/x"))[-1] == f"{place}/loop"
    os.symlink(f"{place}/a", f"{place}/absolute")
    assert "/" in list(way_to(f"{place}/absolute"))[1:]


def test_a_folder_that_everybody_can_write_is_noticed_for_either_socket(place):
    """Whoever can write it can exchange the sockets in it; in a container it may be meant so."""
    make(f"{place}/open", 0o777)
    make(f"{place}/open/in", 0o755)
    remedy = (
        f"everybody can write {place}/open (mode 0777), and so put another socket in the place of"
        f" this one; run `chmod o-w {place}/open`"
    )
    found = notices_of(place, listen="{0}/open/in/s")
    assert found == [f"5: [pool:a] listen: {remedy}"]
    text = f"[pyfpm]\ncontrol = {place}/open/c\n[pool:a]\napp = a:b\nlisten = {place}/s\n"
    config = load_config(f"{place}/f", {}, is_root=True, allow_root=True, text=text)
    assert [str(notice) for notice in config.notices] == [f"{place}/f:2: [pyfpm] control: {remedy}"]
    os.chmod(f"{place}/open", 0o755)
    assert not notices_of(place, listen="{0}/open/in/s")


def test_a_sticky_folder_protects_what_root_has_made_there(place):
    """/tmp: nobody can rename what belongs to another, but take a name that is free."""
    make(f"{place}/tmp", 0o1777)
    make(f"{place}/tmp/mine", 0o755)
    assert not notices_of(place, listen="{0}/tmp/mine/s")
    (notice,) = notices_of(place, listen="{0}/tmp/s")
    assert f"everybody can make {place}/tmp/s while the service is down" in notice


def test_a_folder_that_a_stranger_made_in_tmp_is_refused(place, as_root):
    """He would own whatever comes into it; the pool's own user and root may have made it."""
    make(f"{place}/tmp", 0o1777)
    path = make(f"{place}/tmp/theirs", 0o755, STRANGER)
    make(f"{path}/in", 0o755)
    reason = f"{path} belongs to user {STRANGER}, who has made it where everybody may"
    (problem,) = problems_of(place, listen="{0}/tmp/theirs/in/s")
    assert problem.startswith(f"5: [pool:a] listen: {reason}")
    found = find_exposure(f"{path}/in", {FRIEND})
    assert found is not None
    assert found.owner == STRANGER
    assert find_exposure(f"{path}/in", {STRANGER, FRIEND}) is None


def test_a_link_that_a_stranger_made_in_tmp_is_refused_too(place, as_root):
    """It leads wherever he likes, and elsewhere tomorrow."""
    make(f"{place}/tmp", 0o1777)
    make(f"{place}/good", 0o755)
    os.symlink(f"{place}/good", f"{place}/tmp/link")
    assert find_exposure(f"{place}/tmp/link", set()) is None
    os.chown(f"{place}/tmp/link", STRANGER, STRANGER, follow_symlinks=False)
    found = find_exposure(f"{place}/tmp/link", set())
    assert found is not None
    assert (found.path, found.owner) == (f"{place}/tmp/link", STRANGER)


def test_owners_of_folders_that_only_they_can_write_are_not_judged(place, as_root):
    """/home/alice/run is what somebody has set up."""
    path = make(f"{place}/home", 0o775, STRANGER)
    make(f"{path}/run", 0o755, STRANGER)
    assert find_exposure(f"{path}/run", set()) is None
    assert find_exposure(f"{path}/missing/deeper", set()) is None


def test_a_link_of_others_on_the_way_to_a_socket_is_refused_for_root(place, as_root):
    """Root would make and remove files where it leads; a master of its user can do no harm."""
    make(f"{place}/home", 0o755, STRANGER)
    os.symlink(place, f"{place}/home/run")
    os.chown(f"{place}/home/run", STRANGER, STRANGER, follow_symlinks=False)
    assert problems_of(place, listen="{0}/home/run/s") == [
        (
            f"5: [pool:a] listen: {place}/home/run is a symbolic link of user {STRANGER}, and root"
            " follows none of others: remove it, or write the folder that it leads to"
        )
    ]
    assert load(place, listen="{0}/home/run/s", is_root=False).pools
    os.chown(f"{place}/home/run", 0, 0, follow_symlinks=False)
    assert load(place, listen="{0}/home/run/s").pools


def test_a_link_of_a_tenant_is_no_problem_of_other_pools(place, as_root):
    """As with all that a tenant can take away."""
    make(f"{place}/home", 0o755, STRANGER)
    os.symlink(place, f"{place}/home/run")
    os.chown(f"{place}/home/run", STRANGER, STRANGER, follow_symlinks=False)
    more = ("[pool:b]", "app = a:b", "listen = {0}/b.sock", "python = /bin/sh")
    config = load(place, *more, listen="{0}/home/run/s", spares_others=True)
    assert [problem.section for problem in config.own_problems] == ["pool:a"]
    assert len(problems_of(place, *more, listen="{0}/home/run/s")) == 1
