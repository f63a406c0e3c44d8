"""listen.allowed_users: the kernel says who connected, and no way into a worker goes past it."""

import contextlib
import os
import pwd
import re
import select
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from harness.fcgi_client import FcgiClient, make_params
from harness.machine import POOL_USER, wait_until
from harness.master import Pyfpm, environment, reconfigure
from harness.service_manager import launcher
from harness.visitors import visit
from harness.web_servers import Nginx

from pyfpm.fastcgi import encode_request
from pyfpm.messages import ListenerPlan
from pyfpm.runtime.intake import Intake
from pyfpm.runtime.refusals import Refusals
from pyfpm.scoreboard.slot import Word

pytestmark = pytest.mark.usefixtures("as_root")

FRIEND, STRANGER = 43210, 54321
WEB_UID = pwd.getpwnam(POOL_USER).pw_uid

POOL = f"""
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
listen.mode = 0666
listen.allowed_users = {FRIEND}, {POOL_USER}
"""
STATIC_1 = POOL + "pm = static\npm.max_children = 1\n"
ONDEMAND = POOL + "pm = ondemand\npm.max_children = 1\npm.process_idle_timeout = {idle}\n"
REFUSED = (
    r"\[pool shop\] child \d+: user {} \(pid \d+\) is not among listen\.allowed_users: refused"
)


def has_user_namespaces():
    if os.getuid() != 0 or not shutil.which("unshare"):
        return False
    words = ["unshare", "--user", "--map-user=0", "true"]
    done = subprocess.run(words, user=STRANGER, capture_output=True, check=False, cwd="/")
    return done.returncode == 0


needs_user_namespaces = pytest.mark.skipif(
    not has_user_namespaces(), reason="users cannot make user namespaces here"
)


@pytest.fixture(scope="module")
def master():
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    with Pyfpm(STATIC_1) as running:
        yield running


@contextlib.contextmanager
def being(uid):
    """Connect as that user: the effective user is what the kernel notes."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def client_of(master, uid):
    with being(uid):
        return master.client("shop.sock")


def is_served(client):
    return client.request("/pid", keep=True).status == 200


def refused(master):
    return master.pool_status("shop")["refused connections"]


# Who is let in


def test_a_user_of_the_list_is_served(master):
    """By number, without an entry in /etc/passwd, and by name."""
    for uid in (FRIEND, WEB_UID):
        found = visit(master.address("shop.sock"), uid)
        assert (found.outcome, found.response.status) == ("answered", 200)


def test_any_other_user_is_cut_off_before_a_byte_is_read():
    """Although the mode admits it: one line with pool and user, one more in the counter."""
    with Pyfpm(STATIC_1) as master:
        assert visit(master.address("shop.sock"), STRANGER).outcome == "closed"
        master.log.wait_for(REFUSED.format(STRANGER))
        status = master.pool_status("shop")
    assert (status["refused connections"], status["accepted conn"]) == (1, 0)


def test_root_is_refused_unless_it_is_named(master):
    """A root of a container that shares the socket is user 0 as well."""
    assert visit(master.address("shop.sock"), 0).outcome == "closed"


def test_a_group_does_not_stand_for_a_user(master):
    """It is a list of users; the group of a listed one opens nothing."""
    found = visit(master.address("shop.sock"), STRANGER, gid=FRIEND, groups=[WEB_UID, FRIEND])
    assert found.outcome == "closed"


@pytest.mark.parametrize(
    ("before", "between", "outcome"),
    [
        (f"os.setresuid({FRIEND}, {FRIEND}, 0)", "", "answered"),
        ("", f"os.setresuid({FRIEND}, {FRIEND}, {FRIEND})", "closed"),
        (f"os.setresuid({STRANGER}, {FRIEND}, {STRANGER})", "", "answered"),
        (f"os.setresuid({FRIEND}, {STRANGER}, {FRIEND})", "", "closed"),
        (f"os.seteuid({FRIEND})", f"os.seteuid(0); os.setuid({STRANGER})", "answered"),
    ],
)
def test_the_effective_user_who_connects_counts(master, before, between, outcome):
    """Not who sends, not the real user, and not what a server becomes afterwards."""
    found = visit(master.address("shop.sock"), 0, before=before, between=between)
    assert found.outcome == outcome


@needs_user_namespaces
@pytest.mark.parametrize("pretended", [0, FRIEND])
def test_in_a_namespace_of_his_own_a_stranger_is_himself(master, pretended):
    """There he may call himself root or the web server; the pool's namespace knows better."""
    words = ["unshare", "--user", f"--map-user={pretended}"]
    assert visit(master.address("shop.sock"), STRANGER, launcher=words).outcome == "closed"
    assert visit(master.address("shop.sock"), FRIEND, launcher=words).outcome == "answered"


@needs_user_namespaces
def test_the_user_of_unknown_users_cannot_be_listed_where_there_are_some(master):
    """In a user namespace everybody whom it does not know appears as nobody, 65534."""
    path = master.folder / "nobody.conf"
    path.write_text(master.config.read_text().replace(f"= {FRIEND},", "= 65534,"))
    words = [sys.executable, "-m", "pyfpm", "-c", str(path), "check"]

    def run(*launcher):
        return subprocess.run(
            [*launcher, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=environment(),
        )

    outside = run()
    assert outside.returncode == 0, outside.stderr
    inside = run("unshare", "--user", "--map-root-user")
    assert inside.returncode == 78
    assert "listen.allowed_users: 65534 is also what the kernel says here of" in inside.stderr


def test_a_crowd_of_strangers_leaves_the_friend_served(master):
    """They are closed as they come, a line a second; orders and other connections are not late."""
    before, mark = refused(master), master.log.mark()
    crowd = []
    with client_of(master, FRIEND) as kept:
        assert is_served(kept)
        for _ in range(600):
            with being(STRANGER):
                link = socket.socket(socket.AF_UNIX)
                link.connect(str(master.folder / "shop.sock"))
                crowd.append(link)
        assert is_served(kept)
        with client_of(master, FRIEND) as another:
            assert is_served(another)
        for link in crowd:
            assert link.recv(1) == b""
            link.close()
        assert is_served(kept)
    wait_until(lambda: refused(master) == before + 600)
    assert master.log.text(mark).count("listen.allowed_users") < 60


@pytest.mark.parametrize("ends", ["interval", "pool"])
def test_the_last_strangers_are_told_of_although_the_worker_sleeps(ends):
    """Nobody comes after them: the master adds up what has no line of its own."""
    with Pyfpm(STATIC_1) as master:
        for _ in range(30):
            assert visit(master.address("shop.sock"), STRANGER).outcome == "closed"
        if ends == "pool":
            assert master.command("stop", "shop").returncode == 0
        log = master.log

        def told():
            more = log.find(r"ERROR: \[pool shop\] \d+ more refused within 10 s: client not")
            single = log.find("is not among listen.allowed_users: refused")
            return len(single) + sum(int(re.search(r"\] (\d+) more", line)[1]) for line in more)

        wait_until(lambda: told() == 30, timeout_s=30)
        assert len(log.find("refused")) < 30


def test_a_wake_up_ends_after_so_many_strangers(tmp_path):
    """Orders and other connections get their turn however fast strangers come."""
    words = [0] * len(Word)
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket() as channel,
        ExitStack() as crowd,
    ):
        listener.bind(str(tmp_path / "s"))
        listener.listen(600)
        for _ in range(500):
            link = crowd.enter_context(socket.socket(socket.AF_UNIX))
            link.connect(str(tmp_path / "s"))
        plan = ListenerPlan(os.dup(listener.fileno()), "s", False, (), (FRIEND,))
        with select.epoll() as epoll:
            complaints = []
            refusals = Refusals(words, complaints.append)
            intake = Intake(epoll, (plan,), channel, complaints.append, refusals)
            counts = []
            for _ in range(3):
                assert intake.take_one(plan.descriptor) is None
                counts.append(words[Word.REFUSED])
            intake.close()
    assert 0 < counts[0] < counts[1] == counts[2] == 500
    assert len(complaints) < 10


# Ways into a worker that are not the front door


def test_a_stranger_who_waits_while_a_worker_leaves_is_not_served():
    """What a draining worker finds at the listener has to pass as well."""
    with Pyfpm(STATIC_1) as master, client_of(master, FRIEND) as busy:
        busy.send(encode_request(1, make_params("/sleep?s=1"), b"", keep_conn=True))
        wait_until(lambda: master.pool_status("shop")["active processes"] == 1)
        with client_of(master, STRANGER) as stranger, client_of(master, FRIEND) as friend:
            for client in (stranger, friend):
                client.send(encode_request(1, make_params("/pid"), b""))
            master.control("restart", pool="shop")
            assert stranger.is_closed_by_peer()
            assert friend.response().status == 200
        assert busy.response().complete
        assert refused(master) == 1


def test_strangers_are_refused_by_a_worker_that_was_spawned_for_them():
    """The master accepts nobody, so a pool without workers has to spawn one that says no."""
    with Pyfpm(ONDEMAND.format(idle="200ms")) as master:
        assert master.worker_pids("shop") == []
        assert visit(master.address("shop.sock"), STRANGER).outcome == "closed"
        wait_until(lambda: not master.worker_pids("shop"))
        assert refused(master) == 1, "the counter of a worker that has ended is kept"


def test_connections_that_the_master_kept_were_asked_before():
    """A friend's survives the last worker and an upgrade; neither is a way in for a stranger."""
    with Pyfpm(ONDEMAND.format(idle="200ms")) as master, client_of(master, FRIEND) as kept:
        assert is_served(kept)
        wait_until(lambda: not master.worker_pids("shop"))
        assert master.pool_status("shop")["parked connections"] == 1
        done = master.command("upgrade")
        assert done.returncode == 0, done.stderr
        assert visit(master.address("shop.sock"), STRANGER).outcome == "closed"
        assert is_served(kept)


def test_a_list_holds_for_sockets_of_systemd_too():
    """An abstract one has no mode: the list is all that there is."""
    with socket.socket(socket.AF_UNIX) as sock:
        name = f"pyfpm-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.listen()
        pool = STATIC_1.replace("%(here)s/shop.sock", "systemd:web")
        with Pyfpm(pool, launcher=launcher("web", [sock]), pass_fds=[sock.fileno()]) as master:
            for uid, outcome in ((FRIEND, b"\x01"), (STRANGER, b"")):
                with being(uid), socket.socket(socket.AF_UNIX) as link:
                    link.settimeout(10)
                    link.connect("\0" + name)
                    with contextlib.suppress(ConnectionError):
                        link.sendall(encode_request(1, make_params("/pid"), b""))
                        assert link.recv(1) == outcome
            wait_until(lambda: refused(master) == 1)


# Reloads


def test_a_changed_list_holds_for_whoever_connects_from_then_on():
    """Old connections stay with the workers that admitted them; the new ones never see them."""
    with Pyfpm(STATIC_1) as master, client_of(master, FRIEND) as kept:
        old = kept.request("/pid", keep=True).body
        reconfigure(master, f"= {FRIEND}, {POOL_USER}", f"= {POOL_USER}")
        master.control("reload")
        assert visit(master.address("shop.sock"), FRIEND).outcome == "closed"
        new = visit(master.address("shop.sock"), WEB_UID)
        assert (new.outcome, new.response.body != old) == ("answered", True)
        assert {kept.request("/pid", keep=True).body for _ in range(10)} == {old}
        kept.close()
        wait_until(lambda: len(master.worker_pids("shop")) == 1)


def test_pm_drain_timeout_bounds_how_long_old_connections_go_on():
    """Who must be out at once sets it, or stops and starts the pool."""
    with (
        Pyfpm(STATIC_1 + "pm.drain_timeout = 500ms\n") as master,
        client_of(master, FRIEND) as kept,
    ):
        assert is_served(kept)
        reconfigure(master, f"= {FRIEND}, {POOL_USER}", f"= {POOL_USER}")
        master.control("reload")
        assert kept.is_closed_by_peer(10)


def test_a_list_that_stays_keeps_the_channel():
    """Written in another order, or by name instead of by number, it is the same list."""
    with Pyfpm(STATIC_1) as master, client_of(master, FRIEND) as kept:
        old = kept.request("/pid", keep=True).body
        reconfigure(master, f"= {FRIEND}, {POOL_USER}", f"= {WEB_UID} {FRIEND} {POOL_USER}")
        master.control("reload")
        wait_until(lambda: len(master.worker_pids("shop")) == 1)
        assert kept.request("/pid", keep=True).body != old


# A web server


def test_nginx_is_served_as_its_user_and_nobody_else():
    """The usual set-up: the pool is one user, the web server another, and a third has no way in."""
    site = """
    upstream shop { server unix:SOCKET; keepalive 4; }
    server {
        listen 127.0.0.1:PORT;
        location / { include pyfpm_params; fastcgi_pass shop; fastcgi_keep_conn on; }
    }
    """
    pool = STATIC_1.replace(f"= {FRIEND}, {POOL_USER}", f"= {POOL_USER}") + "user = nobody\n"
    with Pyfpm(pool) as master:
        address = master.address("shop.sock")
        with Nginx(site.replace("unix:SOCKET", address)) as nginx, nginx.client() as browser:
            for _ in range(3):
                assert browser.request("GET", "/pid").status == 200
            assert visit(address, STRANGER).outcome == "closed"
            assert visit(address, pwd.getpwnam("nobody").pw_uid).outcome == "closed"
            reconfigure(master, f"listen.allowed_users = {POOL_USER}", "listen.allowed_users = 1")
            with FcgiClient(address) as root:
                assert root.is_closed_by_peer()
        master.control("reload")
        with Nginx(site.replace("unix:SOCKET", address)) as nginx, nginx.client() as browser:
            assert browser.request("GET", "/pid").status == 502
            master.log.wait_for(REFUSED.format(WEB_UID))
