"""Which pages of a worker are its own, and what was written there.

Starts a pool with one worker, sends it requests, and compares after each step the worker with a
zygote that forks and does nothing else: a page whose frame is another one has been written to since
the fork. (Soft-dirty bits would say the same, but not every kernel keeps them.) Each changed word
is then put down to the object at that address: its reference count, its body, or no object at all,
which are tables of dicts, gaps and the interpreter's own data.

    python benchmarks/dirty_pages.py wsgi:application --folder SITE --python VENV

Run it as root, for the numbers of frames (proc(5), pagemap) are for root only.
"""

import argparse
import bisect
import os
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from harness.machine import wait_until  # noqa: E402 - found by the lines above
from harness.master import Pyfpm  # noqa: E402

PAGE = 4096
WORD = 8
PRESENT = 1 << 63
FRAME = (1 << 55) - 1
HEAD = 16  # of an object that the collector knows, before its address

# Imports the application, and lists its objects in a fork, so that the listing leaves no trace.
WITNESS = """
import gc, os, sys
sys.path.insert(0, {folder!r})
os.chdir({folder!r})
import {module} as _module
application = _module.{attribute}

def _objects():
    seen, found = set(), gc.get_objects()
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            found += gc.get_referents(one)

def _size(one):
    kind = type(one)  # of a dict or a list only the head lies at its address
    return kind.__sizeof__(one) if kind.__itemsize__ or kind is str else kind.__basicsize__

gc.collect()
if (_child := os.fork()) == 0:
    with open({listing!r}, "w") as _file:
        for _one in _objects():
            _kind = type(_one).__name__
            print(id(_one), _size(_one), int(gc.is_tracked(_one)), _kind, file=_file)
    os._exit(0)
os.waitpid(_child, 0)
"""
POOL = """
[pool:watched]
app = witness:application
listen = %(here)s/watched.sock
pm = static
pm.max_children = 1
{options}
"""


@dataclass(frozen=True)
class Thing:
    """An object of the import."""

    address: int
    size_bytes: int
    tracked: bool
    kind: str


def main() -> None:
    options = parse_options()
    module, _, attribute = options.app.partition(":")
    folder = str(options.folder.resolve())
    more = [f"environment = {options.environment}"] if options.environment else []
    more += [f"python = {options.python.resolve()}"] if options.python else []
    listing = Path("/tmp") / f"pyfpm-objects-{os.getpid()}"
    listing.touch()
    listing.chmod(0o666)
    text = WITNESS.format(folder=folder, module=module, attribute=attribute, listing=str(listing))
    try:
        with Pyfpm(POOL.format(options="\n".join(more)), files={"witness.py": text}) as fpm:
            watch(fpm, options.path, sorted(read_listing(listing), key=lambda one: one.address))
    finally:
        listing.unlink()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", nargs="?", default="hello:app", help="module:callable (hello:app)")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "examples")
    parser.add_argument("--python", type=Path, help="interpreter or virtual environment")
    parser.add_argument("--environment", help='A="1",B="2"')
    parser.add_argument("--path", default="/", help="what is requested (/)")
    return parser.parse_args()


def watch(fpm: Pyfpm, path: str, things: list[Thing]) -> None:
    wait_until(lambda: fpm.worker_pids("watched"))
    zygote, worker = fpm.zygote_pid("watched"), fpm.worker_pids("watched")[0]
    print(f"{len(things):,} objects; {len(frames(zygote)) * PAGE / 2**20:.1f} MiB to be shared")
    known: set[int] = set()
    for name, requests in (("boot", 0), ("first request", 1), ("200 requests more", 200)):
        for _ in range(requests):
            with fpm.client("watched.sock") as client:
                response = client.request(path)
                assert response.status == 200, response.raw[:200]
        time.sleep(0.2)  # what follows the answer
        mine, theirs = frames(worker), frames(zygote)
        copied = {at for at in mine if at in theirs and mine[at] != theirs[at]}
        fresh = len(mine.keys() - theirs.keys())
        print(f"\n{name}: {mib(len(copied))} copied, {mib(fresh)} new")
        explain(zygote, worker, sorted(copied - known), things)
        known = copied


def mib(pages: int) -> str:
    return f"{pages * PAGE / 2**20:.2f} MiB"


def read_listing(path: Path) -> Iterator[Thing]:
    for line in path.read_text().splitlines():
        address, size, tracked, kind = line.split(" ", 3)
        yield Thing(int(address), int(size), tracked == "1", kind)


def frames(pid: int) -> dict[int, int]:
    """Address to frame of every private, writable page that is there."""
    found = {}
    areas = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .w.p", read(pid, "maps"), re.MULTILINE)
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for first, last in areas:
            start, end = int(first, 16), int(last, 16)
            pagemap.seek(start // PAGE * WORD)
            entries = pagemap.read((end - start) // PAGE * WORD)
            for number, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
                if entry & PRESENT:
                    found[start + number * PAGE] = entry & FRAME
    if found and not any(found.values()):
        sys.exit("the kernel shows no frames: run this as root")
    return found


def read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def explain(zygote: int, worker: int, pages: list[int], things: list[Thing]) -> None:
    """What differs on these pages, by the number of pages where it does."""
    starts = [thing.address for thing in things]
    on_pages: Counter[str] = Counter()
    words: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    with open_memory(zygote) as theirs, open_memory(worker) as mine:
        for page in pages:
            here: Counter[str] = Counter()
            for offset in differing(read_page(theirs, page), read_page(mine, page)):
                here[describe(page + offset, starts, things)] += 1
            here = here or Counter({"nothing: as it was before": 1})
            words += here
            on_pages.update(here.keys())
            alone.update([*here] if len(here) == 1 else [])
    print(f"{'pages':>8}{'only that':>11}{'words':>8}")
    for what, count in on_pages.most_common(12):
        print(f"{count:8}{alone[what]:11}{words[what]:8}  {what}")


def open_memory(pid: int) -> BinaryIO:
    return open(f"/proc/{pid}/mem", "rb", buffering=0)


def read_page(memory: BinaryIO, page: int) -> bytes:
    memory.seek(page)
    return memory.read(PAGE)


def differing(left: bytes, right: bytes) -> list[int]:
    """Offsets of the words that differ."""
    return [at for at in range(0, PAGE, WORD) if left[at : at + WORD] != right[at : at + WORD]]


def describe(address: int, starts: list[int], things: list[Thing]) -> str:
    """What is at this address."""
    after = bisect.bisect_right(starts, address)
    if after < len(things) and things[after].tracked and address >= starts[after] - HEAD:
        return f"collector's head of a {things[after].kind}"
    thing = things[after - 1] if after else None
    if thing is None or address >= thing.address + thing.size_bytes:
        return "no object: tables, gaps, the interpreter"
    if address == thing.address:
        return f"reference count of a {thing.kind}"
    return f"body of a {thing.kind}"


if __name__ == "__main__":
    main()
