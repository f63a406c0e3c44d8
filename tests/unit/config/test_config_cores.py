"""How many processors may be used."""

import os

import pytest

from pyfpm.config.cores import count_cores, parse_cgroup_path, parse_v1_quota, parse_v2_quota


def test_cores_are_at_least_one_and_at_most_the_affinity():
    """Whatever cgroup this runs in."""
    assert 1 <= count_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("50000 100000", 0.5), ("", None)],
)
def test_cpu_max_of_cgroup_v2_is_a_number_of_cores(text, quota):
    """Quota over period; `max` is no quota."""
    assert parse_v2_quota(text) == quota


@pytest.mark.parametrize(
    ("quota_us", "period_us", "quota"),
    [("-1\n", "100000\n", None), ("400000\n", "100000\n", 4.0), ("1", "0", None), ("", "", None)],
)
def test_two_files_of_cgroup_v1_are_a_number_of_cores(quota_us, period_us, quota):
    """-1 is no quota."""
    assert parse_v1_quota(quota_us, period_us) == quota


def test_cgroup_is_found_by_its_controller():
    """The empty controller is v2's."""
    text = "4:cpu,cpuacct:/a\n3:cpuset:/b\n0::/c:d\n"
    assert parse_cgroup_path(text, "cpu") == "/a"
    assert parse_cgroup_path(text, "") == "/c:d"
    assert parse_cgroup_path(text, "memory") is None
