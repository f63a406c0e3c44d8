"""What of a pool's attributes a master asks the kernel for, with and without root."""

import os
import resource

import pytest
from pool_options import make_options

from pyfpm.kernel.process import read_oom_score_adj
from pyfpm.master.attributes import AS_THE_MASTER, Attributes, Limit, RefusedError
from pyfpm.master.attributes import resolve_attributes as resolve

LISTEN = "listen = /tmp/shop.sock"


def attributes_of(folder, *lines, is_root):
    return resolve(make_options(folder, LISTEN, *lines), is_root=is_root)


@pytest.mark.parametrize("is_root", [True, False])
def test_pool_without_keys_is_as_the_master(tmp_path, is_root):
    """Nothing is asked for."""
    assert attributes_of(tmp_path, is_root=is_root) == AS_THE_MASTER


def test_root_asks_for_everything(tmp_path):
    """Whether the kernel grants it shows in the child."""
    found = attributes_of(
        tmp_path,
        "process.priority = -20",
        "process.oom_score_adj = -1000",
        "process.cpu_affinity = 0,5",
        "rlimit_files = 2147483647",
        "rlimit_core = unlimited",
        "rlimit_as = 1G",
        "rlimit_nproc = 7",
        is_root=True,
    )
    limits = (
        Limit("rlimit_files", 2147483647),
        Limit("rlimit_core", -1),
        Limit("rlimit_as", 1 << 30),
        Limit("rlimit_nproc", 7),
    )
    assert found == Attributes(None, -20, -1000, (0, 5), limits)


def test_without_root_limits_go_as_far_as_they_may_and_nothing_else_is_tried(tmp_path):
    """Lower limits, higher nice values and OOM scores need no root."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    nice, score = os.getpriority(os.PRIO_PROCESS, 0), read_oom_score_adj()
    refused = attributes_of(
        tmp_path,
        f"process.priority = {nice - 1}",
        f"process.oom_score_adj = {score - 1}",
        f"rlimit_files = {hard + 1}",
        is_root=False,
    )
    assert refused == Attributes(limits=(Limit("rlimit_files", hard),))
    granted = attributes_of(
        tmp_path,
        f"process.priority = {nice + 1}",
        f"process.oom_score_adj = {score + 1}",
        "process.cpu_affinity = 0",
        "rlimit_files = 64",
        is_root=False,
    )
    assert granted == Attributes(None, nice + 1, score + 1, (0,), (Limit("rlimit_files", 64),))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("rlimit_core", -1, "rlimit_core = unlimited: no"),
        ("process.priority", -1, "process.priority = -1: no"),
        ("process.cpu_affinity", (0, 1), "process.cpu_affinity = (0, 1): no"),
    ],
)
def test_refusal_names_key_value_and_reason(key, value, text):
    """As one would look for it in the file."""
    error = RefusedError(key, value, "no")
    assert (str(error), error.key) == (text, key)
