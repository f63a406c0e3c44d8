"""What a zygote does before the first fork, so that workers write to few of the pages they share.

A fork copies no memory: a page is copied when somebody writes to it. CPython writes to objects that
it only looks at, since it counts references in them, and where a request goes cannot be known. But
three things make workers write to pages without need, and can be had before the fork:

* The collector writes into every object that it visits. `gc.freeze` hides from it what is there.
* New objects go into the gaps that the import has left, a few on each of many pages. Filled gaps
  make them go to pages of the worker's own, where they lie side by side.
* A look-up on a class is remembered in the class and in a cache of the interpreter, which holds a
  reference to each attribute name: every new entry costs the old name a write, too. So all classes
  are looked at once, and the cache is emptied afterwards.

docs/explanation/memory.md has what each of them saves, and what is left.
"""

import contextlib
import gc
import sys

_PAGE_BYTES = 4096
_GRAIN_BYTES = 16
_SMALLEST_BYTES = 48
_LARGEST_BYTES = 512  # CPython's own allocator goes as far; longer objects are malloc's
_BYTES_OVERHEAD = sys.getsizeof(b"")
_MOST_BYTES = 1 << 20  # for each size; an allocator may never put objects side by side

# How many collections of one generation there are for one of the next. With nothing but a worker's
# own objects to visit, more of the long ones cost no time that could be measured on a Django page,
# and garbage goes 1.3 MiB earlier.
_USUAL_INTERVALS = (10, 10)
_INTERVALS = (5, 2)


def settle_memory() -> list[bytes]:
    """Collect, fill the gaps, and take what is there out of the collector's sight.

    Returns what fills the gaps: to be kept as long as the process lives.
    """
    gc.collect()
    _look_at_classes()
    fillings: list[bytes] = []
    for size in range(_SMALLEST_BYTES, _LARGEST_BYTES + 1, _GRAIN_BYTES):
        fillings += _fill_gaps(size)
    gc.freeze()
    # A full collection is put off until a quarter as many objects have come as the last one found.
    # This one finds none; otherwise workers would keep megabytes of garbage for the frozen ones.
    gc.collect()
    young, middle, old = gc.get_threshold()
    if (middle, old) == _USUAL_INTERVALS:  # the application has no wishes
        gc.set_threshold(young, *_INTERVALS)
    return fillings


def _look_at_classes() -> None:
    """Let every class have its version tag; then forget the look-ups that the import has made.

    Later than 3.11, names live for ever and are not counted: there is nothing to forget.
    """
    pending: list[type] = [object]
    seen = {id(object)}  # not the classes: a metaclass may compare and hash in its own way
    while pending:
        one = pending.pop()
        # Not getattr(): a metaclass may have its own, which would be the application's code.
        with contextlib.suppress(Exception):  # a descriptor of the application may stand there
            type.__getattribute__(one, "__init__")
        below: list[type] = type.__subclasses__(one)
        pending += [sub for sub in below if id(sub) not in seen]
        seen.update(map(id, below))
    if sys.version_info < (3, 12):
        sys._clear_type_cache()  # noqa: SLF001 - public, but for its name


def _fill_gaps(size_bytes: int) -> list[bytes]:
    """Objects of one size in all gaps that there are.

    Where a page's worth of them lies side by side, it was no gap; those are given back.
    """
    length = size_bytes - _BYTES_OVERHEAD
    enough = _PAGE_BYTES // size_bytes
    found: list[bytes] = []
    row = 0
    for _ in range(_MOST_BYTES // size_bytes):
        found.append(bytes(length))
        distance = id(found[-1]) - id(found[-2:][0])
        # Other allocators round up more, or keep a word of their own between two objects.
        row = row + 1 if size_bytes <= distance <= size_bytes * 5 // 4 + _GRAIN_BYTES else 0
        if row == enough:
            break
    del found[-1 - row :]
    return found
