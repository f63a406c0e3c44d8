"""Sealed memory: what nobody can do to it, not even root."""

import errno
import mmap
import os

import pytest
from forked import run_in_child

from pyfpm.kernel.memfd import create_sealed, create_sealed_copy, map_shared, seal_future_write

SIZE = 8192


@pytest.fixture
def descriptor():
    descriptor = create_sealed("pyfpm-test", SIZE)
    yield descriptor
    os.close(descriptor)


def refused(call, *arguments):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is asserted
        call(*arguments)
    assert caught.value.errno in (errno.EPERM, errno.EINVAL), caught.value


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1])
def test_size_cannot_be_changed(descriptor, size):
    """A truncated board would kill every reader by SIGBUS; a grown one would eat memory."""
    refused(os.ftruncate, descriptor, size)
    assert os.fstat(descriptor).st_size == SIZE


def test_size_cannot_be_changed_through_proc_either(descriptor):
    """Reopening gives a new open file, and the same seals."""
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
    try:
        refused(os.ftruncate, again, 0)
    finally:
        os.close(again)


def test_writing_beyond_the_end_does_not_grow_it(descriptor):
    """write(2) is another way to grow a file."""
    os.lseek(descriptor, 0, os.SEEK_END)
    refused(os.write, descriptor, b"x")


def test_mappings_of_two_processes_share_one_memory(descriptor):
    """What a worker writes is what the master reads."""
    ours = map_shared(descriptor, SIZE, writable=True)
    assert bytes(ours) == bytes(SIZE)

    def write_there():
        theirs = map_shared(descriptor, SIZE, writable=True)
        theirs[SIZE - 3 :] = b"abc"

    run_in_child(write_there)
    assert bytes(ours[SIZE - 3 :]) == b"abc"


def test_descriptor_is_not_inherited_by_programs(descriptor):
    """It is passed on purpose, by number."""
    assert not os.get_inheritable(descriptor)


def test_reader_mapping_cannot_be_written(descriptor):
    """`writable=False` is a promise to the one who maps, too."""
    readonly = map_shared(descriptor, SIZE, writable=False)
    assert readonly.readonly


def test_future_write_seal_keeps_old_mappings_and_refuses_new_ones(descriptor):
    """The master goes on writing its notice; no worker can begin to, even as root."""
    old = map_shared(descriptor, SIZE, writable=True)
    seal_future_write(descriptor)
    old[:5] = b"still"

    def try_there():
        with pytest.raises(PermissionError):
            map_shared(descriptor, SIZE, writable=True)
        refused(os.write, descriptor, b"x")
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        with pytest.raises(PermissionError):
            mmap.mmap(again, SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        assert bytes(map_shared(descriptor, SIZE, writable=False)[:5]) == b"still"

    run_in_child(try_there)


def test_sealed_copy_holds_its_content_for_ever():
    """The boot document cannot be changed between the master and the zygote."""
    descriptor = create_sealed_copy("pyfpm-test", b"document")
    try:
        assert os.read(descriptor, 100) == b"document"
        refused(os.pwrite, descriptor, b"x", 0)
        refused(os.ftruncate, descriptor, 0)
        with pytest.raises(PermissionError):
            map_shared(descriptor, 8, writable=True)
    finally:
        os.close(descriptor)
