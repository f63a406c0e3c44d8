"""Workers that attack their master: it lives, and serves the other pool."""

import json
import os
import re
import signal

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import APP, GOOD, pool, undisturbed, workers_of
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, watching

from pyfpm.fastcgi import encode_request

POOLS = pool("bad") + GOOD

HOSTILE = """\
import atexit, ctypes, errno, fcntl, mmap, random, tempfile, time

def find_control():
    control = next(controls())
    control.settimeout(2)
    return control

def attempt(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def scribble(query):
    # The whole board, every other worker's slot and every free one included, again and again.
    size = os.fstat(BOARD).st_size
    dice = random.Random(int(query))
    with mmap.mmap(BOARD, size) as board:
        for _ in range(30):
            board[:] = dice.randbytes(size)
            time.sleep(0.01)
        board[:] = b"\\xff" * size
    return size

def scribble_stages(query):
    # Only the stage letters: every slot claims to be in that stage for ever.
    with mmap.mmap(BOARD, os.fstat(BOARD).st_size) as board:
        for start in range(1024, len(board), 4096):
            board[start] = ord(query)
    return None

def truncate(query):
    tries = {}
    for name, descriptor in (("board", BOARD), ("notice", NOTICE)):
        size = os.fstat(descriptor).st_size
        for wanted in (0, size // 2, size * 2):
            tries[f"{name} {wanted}"] = attempt(os.ftruncate, descriptor, wanted)
        path = f"/proc/self/fd/{descriptor}"
        tries[f"{name} reopened"] = attempt(os.truncate, path, 0)
        # Sealed against writing, it would be of no use to the next worker.
        tries[f"{name} sealed"] = attempt(fcntl.fcntl, descriptor, fcntl.F_ADD_SEALS, 0x10)
        hole = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        tries[f"{name} hole"] = libc.fallocate(descriptor, hole, 0, 4096)
    tries["notice written"] = attempt(os.pwrite, NOTICE, b"x", 0)
    tries["notice mapped"] = attempt(mmap.mmap, NOTICE, 4096)
    return tries

def say(query):
    control = find_control()
    for message in MESSAGES[query]:
        attempt(control.send, message)
    return None

def many(pattern, count):
    return [pattern.replace(b"%d", str(n).encode()) for n in range(count)]

MESSAGES = {
    "garbage": [b"\\0\\xff\\xfe garbage", b"{", b"[]", b"null", b'{"kind":"Ready"}'],
    "deep": [b"[" * 60000],
    "long": [b"x" * 65536],
    "float": [b'{"kind":"Ready","boot_s":1e999,"preloaded":false,"reason":""}',
              b'{"kind":"Ready","boot_s":NaN,"preloaded":false,"reason":""}'],
    "kind": [b'{"kind":"Spawned","serial":1,"pid":1}'],
    "orders": [b'{"kind":"Drain","hand_off":true}'],
    "boot": [b'{"kind":"BootFailed","text":"a lie\\\\nNOTICE: ready"}'],
    "lines": many(b'{"kind":"LogLine","level":"notice","message":"flood %d"}', 20000),
    "looks": many(b'{"kind":"Saturated","pending":%d}', 20000),
    "forged": [json.dumps({"kind": "LogLine", "level": "notice", "message":
        "x\\n[01-Jan-2030 00:00:00] NOTICE: [pool good] child 1 exited\\r\\x1b[2J\\u2028forged"}
    ).encode()],
    "empty": [b""],
}

def attach(query):
    # Descriptors on every message: open files of ours that the master must not collect.
    control = find_control()
    line = b'{"kind":"Saturated","pending":1}'
    for _ in range(int(query)):
        with open("/dev/null") as file:
            attempt(socket.send_fds, control, [line], [file.fileno()] * 100)
    return None

def hand(query):
    # Everything but a client's connection into the hand-off channel, several to a message.
    channel = socket.socket(fileno=os.dup(SEND))
    channel.setblocking(False)
    sent = 0
    for _ in range(200):
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        file = tempfile.TemporaryFile()
        file.write(b"x" * 100)
        file.seek(0)
        for one in ([file.fileno()], [reader], [writer], [ours.fileno()], [listener.fileno()],
                    [BOARD], [os.open("/", os.O_PATH)], [ours.fileno(), reader, writer], []):
            try:
                socket.send_fds(channel, [b"x" * 40], one)
            except OSError:
                break
            sent += 1
        for end in (ours, theirs, listener, file):
            end.close()
        for end in (reader, writer):
            os.close(end)
    return sent

def hand_at_exit(query):
    # The last worker to leave: the master takes what is in the channel.
    atexit.register(lambda: (time.sleep(0.1), hand(query), time.sleep(0.1)))

def close_all(query):
    os.closerange(3, 1000)
    return None

def leave_garbage(query):
    # Deaf and mute, but alive: its control socket is broken and it will not go by itself.
    say("garbage")
    time.sleep(60)

def flood(query):
    os.write(1, b"flood begins\\n")
    chunk = b"x" * 65536
    for _ in range(int(query) * 16):
        os.write(1, chunk)
    os.write(1, b"\\n")
    os.write(2, b"flood is over\\n")
    return None

def forge(query):
    lines = [
        "[21-Nov-2030 10:00:00] NOTICE: [pool good] child 4711 exited on signal 9",
        "before\\r[21-Nov-2030 10:00:00] ALERT: [pool good] overwritten",
        "colour \\x1b[31m bell \\x07 back \\x08 null \\x00 c1 \\x9b31m",
        "separators \\x0b \\x0c \\x1c \\x85 \\u2028 [21-Nov-2030 10:00:00] NOTICE: forged \\u2029",
    ]
    os.write(1, "\\n".join(lines).encode() + b"\\n")
    os.write(1, b"not utf-8: \\xff\\xfe\\n")
    os.write(2, b"no end of line")
    return None
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS, files={"hostile.py": APP + HOSTILE}) as running:
        wait_until(lambda: workers_of(running, "bad", 2))
        yield running


def attack(fpm, uri, *, answered=True):
    """Run one attack; return what it reports."""
    response = fetch(fpm.address("bad.sock"), uri)
    if not answered:
        return None
    assert response.status == 200
    return json.loads(response.body)[1]


@pytest.fixture(autouse=True)
def the_rest_is_well(fpm):
    """Before and after each attack: same master, other pool serves, no descriptor is lost."""
    master = fpm.process.pid
    with undisturbed(fpm):
        before = count_descriptors(master)
        mark = fpm.log.mark()
        yield
        assert set(fpm.control("status", full=True)["pools"]) == {"bad", "good"}
        for arguments in (("--full",), ("--format", "json", "--full")):
            assert fpm.command("status", *arguments).returncode == 0
    # Whatever it did to itself, the pool comes back: whoever serves there now is a worker of it.
    for pid in wait_until(lambda: workers_of(fpm, "bad", 2)):
        with watching(pid) as ends:
            os.kill(pid, 9)
            ends.wait()
    wait_until(lambda: workers_of(fpm, "bad", 2))
    wait_until(lambda: fetch(fpm.address("bad.sock"), "/pid").status == 200)
    wait_until(lambda: count_descriptors(master) <= before)
    own = [line for line in fpm.log.lines(mark) if "[pool " not in line]
    assert not own, own  # the master itself has nothing to complain about
    for line in fpm.log.lines(mark):
        assert re.match(r"\[\d\d-[A-Z][a-z]{2}-20\d\d \d\d:\d\d:\d\d\] ", line), line


def test_worker_that_scribbles_over_the_board_disturbs_nobody_else(fpm):
    """Random bytes in every slot, while the master and status read them."""
    with FcgiClient(fpm.address("bad.sock"), 30) as client:
        client.send(encode_request(1, make_params("/scribble?1")))
        for _ in range(5):
            assert fpm.command("status", "bad", "--full").returncode == 0
        client.response()


@pytest.mark.parametrize("letter", ["_", "W", ".", "S", "G", "?"])
def test_worker_that_forges_stages_disturbs_nobody_else(fpm, letter):
    """Every slot of its pool claims one stage."""
    attack(fpm, f"/scribble-stages?{letter}")
    assert fpm.pool_status("bad")["total processes"] <= 2


def test_shared_memory_cannot_be_truncated_or_sealed(fpm):
    """Board and notice keep their size, the notice its content, and no seal can be added."""
    tries = attack(fpm, "/truncate")
    refused = {name: result for name, result in tries.items() if "hole" not in name}
    assert set(refused.values()) == {"EPERM"}, refused
    assert tries["notice hole"] == -1


@pytest.mark.parametrize(
    "what", ["garbage", "deep", "long", "float", "kind", "orders", "boot", "empty"]
)
def test_nonsense_on_the_control_socket_costs_only_its_sender(fpm, what):
    """Whatever is not a message of a worker ends that worker; the pool has its number again."""
    before = wait_until(lambda: workers_of(fpm, "bad", 2))
    pid = json.loads(fetch(fpm.address("bad.sock"), "/pid").body)[0]
    assert pid in before
    attack(fpm, f"/say?{what}", answered=False)
    wait_until(lambda: workers_of(fpm, "bad", 2))
    assert fpm.pool_status("good")["state"] == "running"


def test_worker_that_breaks_the_rules_and_stays_is_killed(fpm):
    """It would never hear an order again: the master ends it instead of keeping a deaf worker."""
    with FcgiClient(fpm.address("bad.sock")) as client:
        response = client.request("/leave-garbage")
        assert not response.complete


@pytest.mark.parametrize("what", ["lines", "looks"])
def test_flood_on_the_control_socket_leaves_the_master_answering(fpm, what):
    """20,000 messages as fast as they go: the other pool and status are served meanwhile."""
    with FcgiClient(fpm.address("bad.sock"), 60) as client:
        client.send(encode_request(1, make_params(f"/say?{what}")))
        for _ in range(5):
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
            assert fpm.pool_status("good")["state"] == "running"
        client.response()  # or the end of its connection: a flood like this ends its sender


def test_descriptors_attached_to_messages_do_not_come_in(fpm):
    """Its table does not grow: the kernel refuses them, or who sends them is ended."""
    before = count_descriptors(fpm.process.pid)
    attack(fpm, "/attach?50", answered=False)
    assert count_descriptors(fpm.process.pid) <= before + 2


def test_anything_in_the_hand_off_channel_does_no_harm(fpm):
    """Files, pipes, listeners and sockets of its own instead of connections."""
    workers = wait_until(lambda: workers_of(fpm, "bad", 2))
    attack(fpm, "/hand", answered=False)
    assert fetch(fpm.address("bad.sock"), "/pid").status == 200
    assert wait_until(lambda: workers_of(fpm, "bad", 2)) == workers


def test_worker_that_closes_all_its_descriptors_is_replaced(fpm):
    """It has lost its listener and its master, and ends."""
    with watching(*wait_until(lambda: workers_of(fpm, "bad", 2))) as ends:
        attack(fpm, "/close-all", answered=False)
        wait_until(ends.ended)
    wait_until(lambda: workers_of(fpm, "bad", 2))


def test_fifty_megabytes_without_a_line_end_fill_no_memory(fpm):
    """Cut into pieces of log_limit, what fits the budget; the other pool is served meanwhile."""

    def resident_kib():
        with open(f"/proc/{fpm.process.pid}/status", encoding="ascii") as fields:
            return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:"))

    before, mark = resident_kib(), fpm.log.mark()
    with FcgiClient(fpm.address("bad.sock"), 60) as client:
        client.send(encode_request(1, make_params("/flood?50")))
        fpm.log.wait_for("flood begins", since=mark)
        for _ in range(5):
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
            assert fpm.pool_status("good")["state"] == "running"
        assert client.response().complete
    wait_until(lambda: fpm.log.find("flood is over|output dropped", since=mark), timeout_s=30)
    assert resident_kib() < before + 20_000
    lines = fpm.log.find("xxxx", since=mark)
    assert max(map(len, lines)) <= 1024
    assert sum(line.count("x") for line in lines) > 4 << 20


def test_what_a_worker_prints_cannot_look_like_a_line_of_another(fpm):
    """Each line gets the pool's own prefix, control characters become visible."""
    mark = fpm.log.mark()
    attack(fpm, "/forge")
    fpm.log.wait_for("not utf-8", since=mark)
    text = fpm.log.text(mark)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
    forged = fpm.log.find("4711|overwritten|forged", since=mark)
    assert len(forged) == 3
    assert all(re.match(r"\[[^]]*\] [A-Z]+: \[pool bad\] ", line) for line in forged)
    assert not fpm.log.find(r"^\[[^]]*2030", since=mark)
    assert r"\x1b[31m" in text


def test_line_that_a_worker_has_the_master_write_cannot_be_forged(fpm):
    """The same for the lines that come over the control socket."""
    mark = fpm.log.mark()
    attack(fpm, "/say?forged")
    fpm.log.wait_for("forged", since=mark)
    lines = fpm.log.find("2030|forged", since=mark)
    assert all("[pool bad] " in line.partition("NOTICE: ")[2][:11] for line in lines), lines
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028]", fpm.log.text(mark))


ONDEMAND = pool("od", "pm.process_idle_timeout = 300ms", pm="ondemand", most=1) + GOOD


def test_master_adopts_only_connections_and_keeps_none_of_the_rest():
    """Without a worker the master has the channel read; what is no connection ends it."""
    with Pyfpm(ONDEMAND, files={"hostile.py": APP + HOSTILE}) as fpm:
        master = fpm.process.pid
        fpm.log.wait_for("ready to handle connections")
        wait_until(lambda: fpm.zygote_pid("od") and fpm.worker_pids("good"))
        before = count_descriptors(master)
        worker = json.loads(fetch(fpm.address("od.sock"), "/hand-at-exit").body)[0]
        with watching(worker) as ends:
            os.kill(worker, signal.SIGTERM)
            ends.wait()
        # Sockets whose other end is closed go as soon as that is seen.
        wait_until(lambda: count_descriptors(master) <= before)
        assert fetch(fpm.address("od.sock"), "/pid").status == 200
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
