"""What connections and half-sent requests may cost a worker, and what the one beyond sees."""

import contextlib
import os
import resource
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import pytest
from harness.fcgi_client import fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_begin, encode_params, encode_request, encode_stdin
from pyfpm.fastcgi.records import HEADER, STDIN, VERSION

POOL = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 1
"""
IDLE = 2000
HALF_SENT = 300
PIECE = 100_000
BODY = 200_000
MANY_PARAMETERS = [(b"HTTP_%x" % number, b"v%d" % number) for number in range(2900)]


@pytest.fixture(autouse=True)
def many_descriptors():
    """Let the test itself have that many connections; skip where that is forbidden."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(stack, master):
    link = stack.enter_context(socket.socket(socket.AF_UNIX))
    link.settimeout(20)
    link.connect(str(master.folder / "shop.sock"))
    return link


def memory_of(pid):
    """Resident, in bytes."""
    return psutil.Process(pid).memory_info().rss


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def half_sent(size):
    """A request whose body is longer than what is there of it."""
    params = make_params("/ignore-body", method="POST", body=bytes(BODY))
    head = encode_begin(1, keep_conn=False) + encode_params(1, params)
    return head + encode_stdin(1, bytes(size)).removesuffix(encode_stdin(1, b""))


def test_pm_max_connections_bounds_what_two_thousand_silent_clients_cost():
    """A worker holds that many descriptors; the others wait with the kernel.

    Those that say nothing are closed, and others accepted in their place: a client with a request
    gets one, and is answered.
    """
    pool = POOL + "pm.max_connections = 100\nrequest_header_timeout = 300ms\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        assert fetch(master.address("shop.sock")).status == 200
        (pid,) = master.worker_pids("shop")
        before, memory = descriptors_of(pid), memory_of(pid)
        silent = [connect(stack, master) for _ in range(IDLE)]
        most = 0
        deadline = time.monotonic() + 30
        with ExitStack() as later:
            asking = connect(later, master)
            asking.sendall(encode_request(1, make_params("/pid"), b""))
            asking.setblocking(False)
            answer = b""
            while not answer:
                assert time.monotonic() < deadline, "never answered"
                most = max(most, descriptors_of(pid))
                with contextlib.suppress(BlockingIOError):
                    answer = asking.recv(65536)
            assert answer[:1] == b"\x01"
        assert most - before <= 100
        assert most - before >= 90, "they were there at all"
        for link in silent:
            assert link.recv(1) == b"", "closed, not answered"
        assert master.worker_pids("shop") == [pid]
        wait_until(lambda: descriptors_of(pid) <= before)
        assert memory_of(pid) - memory < 8 << 20


def test_a_client_beyond_the_backlog_is_told_at_once():
    """With a full worker and a full backlog connect(2) fails: nginx answers 502 without waiting."""
    pool = POOL + "pm.max_connections = 10\nlisten.backlog = 5\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        for _ in range(10):
            kept = stack.enter_context(master.client("shop.sock"))
            assert kept.request("/pid", keep=True).status == 200
        for _ in range(6):  # one more than the backlog says (listen(2))
            connect(stack, master)
        assert master.pool_status("shop")["listen queue"] == 6
        with socket.socket(socket.AF_UNIX) as beyond:
            beyond.setblocking(False)
            with pytest.raises(BlockingIOError):
                beyond.connect(str(master.folder / "shop.sock"))
        stack.close()
        wait_until(lambda: master.pool_status("shop")["listen queue"] == 0)
        assert fetch(master.address("shop.sock")).status == 200


@pytest.mark.parametrize(
    ("total", "most_held"), [("8M", (8 << 20) // PIECE + 1), ("64M", HALF_SENT)]
)
def test_request_buffer_total_bounds_what_three_hundred_half_sent_bodies_cost(total, most_held):
    """What fits is held until its deadline and answered with 408; what does not is run at once.

    The application decides there: this one does not look at the body, and answers. Each piece has
    a mapping of its own here, so that the gaps of the heap are not measured with what is held.
    """
    pool = POOL + f"request_buffer_total = {total}\nrequest_body_timeout = 2s\n"
    pool += "env[MALLOC_MMAP_THRESHOLD_] = 16384\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        (pid,) = master.worker_pids("shop")
        before = memory_of(pid)
        answers = send_all(
            [connect(stack, master) for _ in range(HALF_SENT)], half_sent(PIECE), pid
        )
        assert master.worker_pids("shop") == [pid]
        assert fetch(master.address("shop.sock")).status == 200
    held = sum(b"Status: 408" in answer for answer in answers.received)
    run = sum(b"ignored" in answer for answer in answers.received)
    assert held + run == HALF_SENT
    assert most_held * 0.9 <= held <= most_held
    assert answers.most_memory - before < most_held * PIECE * 5 // 4 + (4 << 20)


def test_memory_of_half_sent_bodies_is_given_back():
    """Although what came between them is still there, above the gaps that they leave."""
    pool = POOL + "request_body_timeout = 2s\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        (pid,) = master.worker_pids("shop")
        before = memory_of(pid)
        answers = send_all(
            [connect(stack, master) for _ in range(HALF_SENT)], half_sent(PIECE), pid
        )
        assert answers.most_memory - before > HALF_SENT * PIECE
        wait_until(lambda: memory_of(pid) - before < 6 << 20)
        assert master.worker_pids("shop") == [pid]


def test_memory_of_clients_that_leave_is_given_back_before_any_deadline():
    """A second after they have gone, and not when the time of their bodies would have been over."""
    with Pyfpm(POOL) as master, ExitStack() as stack:
        (pid,) = master.worker_pids("shop")
        before, descriptors = memory_of(pid), descriptors_of(pid)
        with ExitStack() as crowd:
            for _ in range(HALF_SENT):
                connect(crowd, master).sendall(half_sent(PIECE))
            wait_until(lambda: memory_of(pid) - before > HALF_SENT * PIECE)
            # Something that stays above the gap which they leave in the heap.
            connect(stack, master).sendall(half_sent(PIECE))
            wait_until(lambda: descriptors_of(pid) == descriptors + HALF_SENT + 1)
        wait_until(lambda: memory_of(pid) - before < 6 << 20)
        assert master.worker_pids("shop") == [pid]


def sent_in_scraps():
    """A tenth of BODY in records of two bytes each."""
    record = HEADER.pack(VERSION, STDIN, 1, 2, 0) + b"ab"
    return half_sent(0) + record * (BODY // 20)


def sent_with_many_parameters():
    """A head of 45 kB, and nothing of its body."""
    params = [*make_params("/ignore-body", method="POST", body=bytes(BODY)), *MANY_PARAMETERS]
    return encode_begin(1, keep_conn=False) + encode_params(1, params)


@pytest.mark.parametrize(
    "data", [sent_in_scraps(), sent_with_many_parameters()], ids=["scraps", "parameters"]
)
def test_request_buffer_total_counts_memory_and_not_only_what_was_sent(data):
    """Two bytes in a record of their own would cost thirty, a short parameter a hundred and more.

    Ten thousand such records, or three thousand such parameters, come from each of the clients.
    """
    pool = POOL + "request_buffer_total = 4M\nrequest_body_timeout = 2s\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        (pid,) = master.worker_pids("shop")
        before = memory_of(pid)
        answers = send_all([connect(stack, master) for _ in range(HALF_SENT)], data, pid)
        assert master.worker_pids("shop") == [pid]
        assert fetch(master.address("shop.sock")).status == 200
    held = sum(b"Status: 408" in answer for answer in answers.received)
    run = sum(b"ignored" in answer for answer in answers.received)
    assert held + run == HALF_SENT
    assert held > 10
    assert answers.most_memory - before < 16 << 20


def test_half_a_record_behind_an_answered_request_is_not_held():
    """A client that is read to its end costs a connection, and nothing for what it has sent."""
    record = HEADER.pack(VERSION, STDIN, 1, PIECE // 2, 0) + bytes(PIECE // 2 - 1)
    pool = POOL + "request_buffer_size = 5\nenv[MALLOC_MMAP_THRESHOLD_] = 16384\n"
    with Pyfpm(pool) as master, ExitStack() as stack:
        (pid,) = master.worker_pids("shop")
        before = memory_of(pid)
        links = [connect(stack, master) for _ in range(HALF_SENT)]
        for link in links:
            link.sendall(half_sent(10) + record)
        for link in links:
            assert b"ignored" in link.recv(65536)
        assert memory_of(pid) - before < 6 << 20


@dataclass
class Answers:
    """What came back on each connection, and the most memory that the worker had meanwhile."""

    received: list[bytes]
    most_memory: int = 0


def send_all(links, data, pid):
    """Send `data` on all connections side by side, and read them to their ends."""
    answers = Answers([b""] * len(links))
    sent = dict.fromkeys(range(len(links)), 0)
    for link in links:
        link.setblocking(False)
    deadline = time.monotonic() + 60
    while sent:
        assert time.monotonic() < deadline, f"{len(sent)} clients are still held"
        for index in list(sent):
            with contextlib.suppress(BlockingIOError):
                if sent[index] < len(data):
                    with contextlib.suppress(BrokenPipeError):
                        sent[index] += links[index].send(data[sent[index] :])
                        continue
                    sent[index] = len(data)  # answered already, and closed
                received = links[index].recv(65536)
                answers.received[index] += received
                if not received:
                    del sent[index]
        memory = memory_of(pid)
        answers.most_memory = max(answers.most_memory, memory)
    return answers
