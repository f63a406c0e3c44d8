"""A gigabyte each way with nginx's buffering off: how fast, and does memory grow?

One client, which is this process: it copies nothing and looks at nothing but the length.
"""

import os
import re
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Figures, Run, SideBySide, Table, medians, run_rounds, side_by_side
from benchmarks.family import Family
from benchmarks.peers import App

WORKERS = 2
SIZE = 1 << 30
BLOCK = memoryview(b"\xaa" * (1 << 18))
NOTES = (
    "Growth is that of the process that grew most, at its peak.",
    "A file goes out through wsgi.file_wrapper, the other download as pieces of 64 KiB.",
)


def connect(url: str) -> socket.socket:
    port = int(url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), 120)


def read_head(link: socket.socket) -> tuple[bytes, bytes]:
    """The head of a response, and what came of the body with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = link.recv(65536)
        if not part:
            raise RuntimeError(f"the connection ended after {received!r}")
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not 200: {head!r}")
    return head, body


def upload(url: str) -> None:
    """Send SIZE bytes; the application has to have counted them all."""
    with connect(url) as link:
        link.sendall(
            f"POST /upload HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            f"Content-Length: {SIZE}\r\n\r\n".encode()
        )
        for _ in range(SIZE // len(BLOCK)):
            link.sendall(BLOCK)
        _, body = read_head(link)
        while part := link.recv(65536):
            body += part
    if body != str(SIZE).encode():
        raise RuntimeError(f"sent {SIZE} bytes, the application read {body!r}")


def download(path: str, url: str) -> None:
    """Receive SIZE bytes, as announced."""
    with connect(url) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        head, body = read_head(link)
        count, room = len(body), bytearray(1 << 20)
        while part := link.recv_into(room):
            count += part
    announced = re.search(rb"(?i)content-length: (\d+)", head)
    if count != SIZE or announced is None or int(announced[1]) != SIZE:
        raise RuntimeError(f"{count} bytes of {SIZE} after {head!r}")


WAYS: dict[str, Callable[[str], None]] = {
    "upload": upload,
    "download": partial(download, f"/download?bytes={SIZE}"),
    "file": partial(download, "/file"),
}


def measure(run: Run, apps: Path) -> Table:
    content = apps / "gigabyte"
    with content.open("wb") as file:
        os.truncate(file.fileno(), SIZE)  # a hole: no disk takes part
    app = App("bodies:app", apps, {"BENCH_FILE": str(content)})
    starters = {
        "pyfpm": partial(peers.pyfpm, app, WORKERS),
        "uWSGI, FastCGI": partial(peers.uwsgi, app, WORKERS),
        "uWSGI, uwsgi protocol": partial(peers.uwsgi, app, WORKERS, "uwsgi"),
    }
    check = f"/download?bytes={len(BLOCK)}"
    with side_by_side(run, starters, "\ufffd", path=check, buffering=False) as side:
        cases = [f"{name} | {way}" for name in side.responders for way in WAYS]
        rounds = min(run.rounds, 3)
        measured = run_rounds(run, cases, lambda case: transfer(side, case), rounds)
        names = list(side.responders)
    return tell(medians(measured), names, measured)


def transfer(side: SideBySide, case: str) -> Figures:
    name, _, way = case.partition(" | ")
    family = Family(side.responders[name].pid)
    sizes, used_s = family.reset_peaks(), family.cpu_s()
    begun = time.monotonic()
    WAYS[way](side.urls[name])
    took_s = time.monotonic() - begun
    return {
        "mb_per_s": SIZE / 1e6 / took_s,
        "growth_mib": family.growth_bytes(sizes) / 2**20,
        "cpu_s": family.cpu_s() - used_s,
    }


def tell(middle: dict[str, Figures], names: list[str], measured: dict[str, list[Figures]]) -> Table:
    # Memory is about the worst case: the largest growth of all rounds, not the median.
    growth = {case: max(one["growth_mib"] for one in rounds) for case, rounds in measured.items()}
    rows = []
    for name in names:
        cells = [name]
        for way in WAYS:
            one = middle[f"{name} | {way}"]
            cells += [
                f"{one['mb_per_s']:,.0f}",
                f"{one['cpu_s']:.2f}",
                f"{growth[f'{name} | {way}']:.1f}",
            ]
        rows.append(cells)
    head = ["responder"]
    for way in WAYS:
        head += [f"{way} MB/s", "CPU s", "growth MiB"]
    return Table(
        "1 GiB up and down, buffering off in nginx",
        head,
        rows,
        NOTES,
        {"medians": middle, "largest_growth_mib": growth, "rounds": measured},
    )
