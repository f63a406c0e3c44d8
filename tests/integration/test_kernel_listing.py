"""Names in a folder that may hold more than anybody has time for."""

import os
from contextlib import contextmanager

from pyfpm.kernel.listing import first_names


@contextmanager
def opened(folder, count):
    for number in range(count):
        (folder / f"file{number}").touch()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_all_names_are_found_where_there_are_few(tmp_path):
    """And again at the next look, through the same descriptor."""
    with opened(tmp_path, 30) as folder:
        for _ in range(2):
            assert sorted(first_names(folder, 31)) == sorted(os.listdir(tmp_path))
        assert first_names(folder, 0) == []


def test_no_more_names_are_read_than_are_wanted(tmp_path):
    """Nor fewer, where more are there; and the next look begins at the beginning."""
    with opened(tmp_path, 3000) as folder:
        names = first_names(folder, 100)
        assert len(set(names)) == 100
        assert len(first_names(folder, 5000)) == 3000
