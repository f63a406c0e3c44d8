"""The files of sockets while they are made and changed: never wider than they may be, never late.

Between any two lines of the code that makes them the state of the file is looked at, and in
parallel other users try to connect as fast as they can.
"""

import contextlib
import functools
import os
import socket
import stat
import sys

import pytest
from forked import Forked, run_in_child
from harness.machine import temporary_folder

from pyfpm.config import load_config
from pyfpm.control.location import prepare_folder
from pyfpm.control.socket_file import SocketFile
from pyfpm.errors import ControlError, SpawnError
from pyfpm.kernel.socket_path import bind_closed, change_access
from pyfpm.master import listeners
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import apply_settings, open_listeners

pytestmark = pytest.mark.usefixtures("as_root")

OLD, NEW, STRANGER = 12345, 12346, 54321
OLD_GROUP, NEW_GROUP, ROOT_GROUP = 23456, 23457, 0
POOL = Identity(OLD, OLD_GROUP, (OLD_GROUP,), "", "", None, True)
# Everybody who could be let in by the owner, the group or the rest of any mode.
PEOPLE = [
    (uid, group)
    for uid in (OLD, NEW, STRANGER)
    for group in (OLD_GROUP, NEW_GROUP, ROOT_GROUP, STRANGER)
]


@pytest.fixture
def place():
    with temporary_folder() as folder:
        yield folder


def options(place, *lines, listen="s"):
    text = "\n".join(["[pool:shop]", "app = shop:app", f"listen = {place}/{listen}", *lines])
    config = load_config(
        f"{place}/pyfpm.conf", {}, is_root=True, allow_root=True, check_system=False, text=text
    )
    return config.pools["shop"]


def admitted(facts):
    """Who of PEOPLE may connect: whoever may write the file, by the class that is his."""
    if facts is None:
        return set()
    mode = stat.S_IMODE(facts.st_mode)

    def may(uid, group):
        shift = 6 if uid == facts.st_uid else 3 if group == facts.st_gid else 0
        return bool(mode >> shift & 2)

    return {person for person in PEOPLE if may(*person)}


def states_during(path, action):
    """Run `action`; return who was admitted at `path` before, between any two lines, and after."""
    seen = []

    def look():
        try:
            facts = os.lstat(path)
        except OSError:
            facts = None
        if facts is not None and stat.S_ISSOCK(facts.st_mode):
            seen.append(admitted(facts))

    def trace(frame, event, argument):
        del event, argument
        if frame.f_code.co_filename.startswith(
            os.path.dirname(os.path.dirname(listeners.__file__))
        ):
            look()
            return trace
        return None

    look()
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        result = action()
    finally:
        sys.settrace(previous)
    look()
    return result, seen


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
@pytest.mark.parametrize("mode", ["0660", "0600", "0606", "0666", "0060", "0006", "0000"])
def test_a_new_socket_admits_nobody_whom_it_will_not_admit_in_the_end(place, mode, umask):
    """Whatever the mode and the umask are, and also not the group of root."""
    before = os.umask(umask)
    try:
        (listener,), seen = states_during(
            place / "s",
            lambda: open_listeners(options(place, f"listen.mode = {mode}"), POOL),
        )
    finally:
        os.umask(before)
    assert len(seen) > 5
    final = seen[-1]
    assert all(state <= final for state in seen), seen
    assert final == {
        (uid, group)
        for uid, group in PEOPLE
        if int(mode, 8) >> (6 if uid == OLD else 3 if group == OLD_GROUP else 0) & 2
    }
    listener.close()


@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o060, 0o666])
def test_a_new_control_socket_admits_nobody_too_early(place, mode, umask):
    """Neither under its temporary name nor under its own."""
    temporary = place / f".ctl-{os.getpid()}"
    for name in (temporary, place / "control.sock"):
        before = os.umask(umask)
        try:
            made, seen = states_during(
                name,
                lambda: SocketFile.make(
                    str(place / "control.sock"), owner=str(OLD), group=str(OLD_GROUP), mode=mode
                ),
            )
        finally:
            os.umask(before)
        final = admitted(os.lstat(place / "control.sock"))
        assert seen
        assert all(state <= final for state in seen)
        assert stat.S_IMODE(os.lstat(place / "control.sock").st_mode) == mode
        made.remove()
        assert os.listdir(place) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            ("listen.mode = 0600",),
            (f"listen.owner = {NEW}", f"listen.group = {NEW_GROUP}", "listen.mode = 0660"),
        ),
        (
            ("listen.mode = 0660",),
            (f"listen.owner = {NEW}", f"listen.group = {NEW_GROUP}", "listen.mode = 0600"),
        ),
        (("listen.mode = 0660",), (f"listen.group = {ROOT_GROUP}", "listen.mode = 0606")),
        (("listen.mode = 0666",), (f"listen.owner = {NEW}", "listen.mode = 0600")),
        (("listen.mode = 0060",), (f"listen.group = {NEW_GROUP}", "listen.mode = 0600")),
    ],
)
def test_a_changed_socket_admits_nobody_whom_neither_setting_admits(place, old, new):
    """A group that is new under a mode that is old would be such a moment, and the other way."""
    (listener,) = open_listeners(options(place, *old), POOL)
    _, seen = states_during(
        place / "s", lambda: apply_settings(listener, options(place, *new), POOL)
    )
    assert seen[0] != seen[-1]
    assert all(state <= seen[0] | seen[-1] for state in seen), seen
    listener.close()


def test_those_whom_both_settings_admit_are_never_refused_where_one_of_them_stays(place):
    """A change of the mode alone, or of the owner alone, is one step."""
    for new in ("listen.mode = 0666", f"listen.owner = {NEW}", f"listen.group = {NEW_GROUP}"):
        (listener,) = open_listeners(options(place), POOL)
        changed = options(place, new)
        _, seen = states_during(
            place / "s", functools.partial(apply_settings, listener, changed, POOL)
        )
        assert all(seen[0] & seen[-1] <= state for state in seen)
        listener.close()


def test_settings_that_stay_touch_nothing(place):
    """The change time of the file tells who changed it last; a reload did not."""
    (listener,) = open_listeners(options(place), POOL)
    before = os.lstat(place / "s")
    apply_settings(listener, options(place), POOL)
    assert os.lstat(place / "s").st_ctime_ns == before.st_ctime_ns
    listener.close()


def knocker(path, uid, gid):
    """A child of that user which connects all the time until told to stop, then says if it could.

    `y` where it got in at least once, `n` where it was refused each time.
    """

    def knock(orders, tell):
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.set_blocking(orders, False)
        admitted = ends = False
        tell(b"s")
        while not ends:
            # The try after the order counts too: by then the socket is there for good.
            with contextlib.suppress(BlockingIOError):
                ends = os.read(orders, 1) == b"e"
            with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(OSError):
                link.setblocking(False)
                try:
                    link.connect(str(path))
                    admitted = True
                except BlockingIOError:  # the backlog is full, which is looked at after the mode
                    admitted = True
        tell(b"y" if admitted else b"n")

    return Forked(knock)


@pytest.mark.parametrize(
    ("uid", "gid", "answer"),
    [
        (STRANGER, ROOT_GROUP, b"n"),
        (STRANGER, STRANGER, b"n"),
        (STRANGER, OLD_GROUP, b"y"),
        (OLD, STRANGER, b"y"),
    ],
)
def test_nobody_slips_in_while_a_socket_is_made(place, uid, gid, answer):
    """Four hundred times made and removed, and somebody knocks all the time.

    The group of root is the one that a new file has for an instant.
    """
    with knocker(place / "s", uid, gid) as visitor:
        assert visitor.hear() == b"s"
        for _ in range(400):
            (listener,) = open_listeners(options(place), POOL)
            listener.close()
        (listener,) = open_listeners(options(place), POOL)  # at the latest this one it meets
        visitor.order(b"e")
        assert visitor.hear() == answer
        listener.close()


def test_a_client_never_finds_the_socket_open_and_deaf(place):
    """Whoever is admitted is accepted: it listens before its mode lets anybody in."""
    refusals = []

    def trace(frame, event, argument):
        del event, argument
        if "/pyfpm/" not in frame.f_code.co_filename:
            return None
        with socket.socket(socket.AF_UNIX) as link, contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.lstat(place / "s").st_mode)
            try:
                link.setblocking(False)
                link.connect(str(place / "s"))
            except OSError as error:
                refusals.append((mode, error.errno))
        return trace

    sys.settrace(trace)
    try:
        (listener,) = open_listeners(options(place), POOL)
    finally:
        sys.settrace(None)
    assert all(mode == 0 for mode, _ in refusals), refusals
    listener.close()


def test_a_default_access_list_of_the_folder_opens_nothing_early(place):
    """Where a folder has one, the kernel asks neither the umask nor anybody else."""
    # struct posix_acl_xattr: version 2; user::rwx, user:STRANGER:rwx, group::rwx, mask, other.
    entries = [(1, 7, -1), (2, 7, STRANGER), (4, 7, -1), (0x10, 7, -1), (0x20, 7, -1)]
    blob = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + bits.to_bytes(2, "little")
        + who.to_bytes(4, "little", signed=True)
        for tag, bits, who in entries
    )
    try:
        os.setxattr(place, "system.posix_acl_default", blob)
    except OSError:
        pytest.skip("no access lists on this file system")
    sock = socket.socket(socket.AF_UNIX)
    identity = bind_closed(sock, str(place / "s"))
    assert stat.S_IMODE(os.lstat(place / "s").st_mode) == 0
    change_access(str(place / "s"), identity, 0o660, (OLD, OLD_GROUP))
    assert stat.S_IMODE(os.lstat(place / "s").st_mode) == 0o660
    sock.close()


def test_a_link_in_place_of_the_socket_is_never_followed(place):
    """In a folder that another user can write, root must change no file of his choice."""
    victim = place / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    sock = socket.socket(socket.AF_UNIX)
    identity = bind_closed(sock, str(place / "s"))
    os.unlink(place / "s")
    os.symlink(victim, place / "s")
    with pytest.raises(OSError, match="has been replaced"):
        change_access(str(place / "s"), identity, 0o666, (OLD, OLD_GROUP))
    found = os.lstat(victim)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    sock.close()


def test_a_socket_that_was_exchanged_at_once_is_noticed(place):
    """Between bind and the first look somebody may put his own there: the kernel knows which."""

    class Exchanged(socket.socket):
        def bind(self, path):
            super().bind(path)
            os.unlink(path)
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(path)

    with Exchanged(socket.AF_UNIX) as sock, pytest.raises(OSError, match="has been replaced"):
        bind_closed(sock, str(place / "s"))


def test_a_folder_that_a_stranger_made_first_is_refused(place):
    """In /tmp: he owns it, so he could exchange every socket in it."""
    shared = place / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "run").mkdir()
    os.chown(shared / "run", STRANGER, STRANGER)
    reason = rf"{shared}/run belongs to user {STRANGER}, who has made it where everybody may"
    with pytest.raises(SpawnError, match=reason):
        open_listeners(options(place, listen="tmp/run/s"), POOL)
    with pytest.raises(ControlError, match=reason):
        prepare_folder(str(shared / "run" / "control.sock"), 0)
    assert os.listdir(shared / "run") == []
    os.chown(shared / "run", OLD, OLD)  # the pool's own user
    (listener,) = open_listeners(options(place, listen="tmp/run/s"), POOL)
    listener.close()


@pytest.mark.parametrize("kind", ["dangling", "to a file", "to a folder"])
def test_a_link_at_the_address_is_refused_and_kept(place, kind):
    """`listen = /etc/alternatives/x` deletes nothing and binds nowhere else."""
    target = {"dangling": "nowhere", "to a file": "file", "to a folder": "."}[kind]
    (place / "file").write_text("precious")
    os.symlink(target, place / "s")
    with pytest.raises(SpawnError, match="a file that is no socket stands there"):
        open_listeners(options(place), POOL)
    assert os.readlink(place / "s") == target
    assert not os.path.lexists(place / "nowhere")


def test_a_path_through_a_link_is_the_same_socket(place):
    """/var/run is a link to /run on most machines; the second pool there is told of the first."""
    (place / "real").mkdir()
    os.symlink("real", place / "link")
    (listener,) = open_listeners(options(place, listen="link/s"), POOL)
    with pytest.raises(SpawnError, match="another server answers there"):
        open_listeners(options(place, listen="real/s"), POOL)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place / "real" / "s"))
    listener.close()
    assert os.listdir(place / "real") == []


def test_a_master_that_is_not_root_gives_what_it_can_and_leaves_the_rest(place):
    """Its own groups it can give; another owner, or a group of others, it leaves aside."""
    os.chown(place, OLD, OLD_GROUP)
    ours = Identity(None, None, (), "", "", None, True)

    def make_sockets():
        os.setgroups([NEW_GROUP])
        os.setresgid(OLD_GROUP, OLD_GROUP, OLD_GROUP)
        os.setresuid(OLD, OLD, OLD)
        for name, line, gid in (
            ("plain", "", OLD_GROUP),
            ("owner", f"listen.owner = {NEW}", OLD_GROUP),
            ("group", f"listen.group = {NEW_GROUP}", NEW_GROUP),
            ("foreign", f"listen.group = {STRANGER}", OLD_GROUP),
        ):
            (listener,) = open_listeners(options(place, line, listen=name), ours)
            apply_settings(listener, options(place, line, listen=name), ours)
            found = os.lstat(place / name)
            assert (found.st_uid, found.st_gid) == (OLD, gid), name
            assert stat.S_IMODE(found.st_mode) == 0o660
        made = SocketFile.make(str(place / "c"), owner=str(NEW), group=str(STRANGER), mode=0o660)
        made.change(owner=str(NEW), group=str(NEW_GROUP), mode=0o600)
        found = os.lstat(place / "c")
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (OLD, NEW_GROUP, 0o600)

    run_in_child(make_sockets)
