"""The boot document and the code that reads it first."""

import ast
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.messages import (
    BOOTSTRAP,
    BootDocument,
    InheritedDescriptor,
    ListenerPlan,
    RequestLimits,
    bootstrap,
    rehearsal,
)
from pyfpm.messages.boot import BOOT_VERSION, decode_boot_document

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
whole = st.integers(0, 2**53)
times = st.floats(0, 1e9)
documents = st.builds(
    BootDocument,
    pool=texts,
    generation=whole,
    master_pid=whole,
    app_module=texts,
    app_attribute=texts,
    app_origin=texts,
    directory=texts,
    preload=st.none() | st.booleans(),
    slots=whole,
    max_children=whole,
    listeners=st.lists(
        st.builds(
            ListenerPlan,
            descriptor=whole,
            address=texts,
            is_tcp=st.booleans(),
            allowed=st.lists(texts, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    limits=st.builds(
        RequestLimits,
        **{field.name: times if field.type is float else whole for field in fields(RequestLimits)},
    ),
    mount=texts,
    path_info=texts,
    status_path=texts,
    ping_path=texts,
    ping_response=texts,
    minder=st.booleans(),
    process_control_timeout_s=times,
    single_threaded_numerics=st.lists(texts, max_size=3).map(tuple),
    access_format=texts,
    access_suppressed=st.lists(texts, max_size=3).map(tuple),
    version=st.just(BOOT_VERSION),
)
SAMPLE = BootDocument(
    **{
        field.name: {
            "limits": RequestLimits(**{field.name: 1 for field in fields(RequestLimits)}),
            "listeners": (ListenerPlan(10, "127.0.0.1:9000", True, ("10.0.0.0/8",)),),
            "single_threaded_numerics": ("OMP_NUM_THREADS",),
            "access_suppressed": ("/ping",),
            "preload": None,
            "version": BOOT_VERSION,
        }.get(field.name, 1 if field.type is int else "x")
        for field in fields(BootDocument)
    }
)


@given(document=documents)
def test_decoding_is_the_inverse_of_encoding(document):
    """The zygote knows exactly what the master meant, tuples and None included."""
    assert decode_boot_document(document.encode()) == document


def test_document_of_another_version_is_refused_by_its_number():
    """A zygote and a master of different releases must not half understand each other."""
    data = replace(SAMPLE, version=BOOT_VERSION + 1).encode()
    with pytest.raises(ProtocolError, match=f"version {BOOT_VERSION + 1}"):
        decode_boot_document(data)


@pytest.mark.parametrize("name", [field.name for field in fields(BootDocument)])
def test_document_without_a_field_is_refused(name):
    """No field has a silent default; `version` alone is written by itself and still required."""
    values = json.loads(SAMPLE.encode())
    del values[name]
    with pytest.raises(ProtocolError):
        decode_boot_document(json.dumps(values).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{}", b"\xff", b'{"version": 1}', b"1", b"[" * 100_000],
    ids=lambda data: repr(data[:20]),
)
def test_garbage_is_refused(data):
    """A boot document that is none raises the error that the zygote reports."""
    with pytest.raises(ProtocolError):
        decode_boot_document(data)


def test_unknown_field_is_refused():
    """A field of a later release would be ignored otherwise."""
    values = json.loads(SAMPLE.encode()) | {"sandbox": True}
    with pytest.raises(ProtocolError):
        decode_boot_document(json.dumps(values).encode())


def test_inherited_descriptors_are_distinct_and_listeners_come_last():
    """Listeners are as many as there are; nothing may stand behind the first of them."""
    numbers = [descriptor.value for descriptor in InheritedDescriptor]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 3
    assert max(InheritedDescriptor) is InheritedDescriptor.LISTENERS


def test_bootstrap_compiles_and_names_the_descriptor_of_the_package():
    """The text is code in another interpreter; its number must be the one that is passed."""
    tree = ast.parse(BOOTSTRAP)
    homes = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "home"
    ]
    assert homes == [f"/proc/self/fd/{InheritedDescriptor.PACKAGE.value}"]


def test_bootstrap_needs_only_what_every_interpreter_has_built_in_or_frozen():
    """Before pyfpm is found nothing is imported that a pool's folder could hold."""
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(BOOTSTRAP))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert imported == {"gc", "sys", "importlib.util", "pyfpm.runtime.zygote"}  # gc is built in


def test_bootstrap_is_undumpable_before_anything_is_imported_from_the_package():
    """The sooner the shorter the time in which others of the same user may look in."""
    text = bootstrap(stay_plain=False, dumpable=False)
    assert compile(text, "<bootstrap>", "exec")
    assert text.index("prctl(4, 0,") < text.index("pyfpm", text.index("gc.disable"))
    assert "prctl" not in bootstrap(stay_plain=False, dumpable=True)
    assert "stay_plain(" in bootstrap(stay_plain=True, dumpable=False)


def test_rehearsal_of_the_bootstrap_ends_where_the_zygote_would_begin():
    """Everything but the run, with exit codes of its own."""
    text = rehearsal(too_old=48, complete=47)
    assert compile(text, "<rehearsal>", "exec")
    assert "from pyfpm.runtime.zygote import main" in text
    assert "\nmain()" not in text
    assert text.endswith("sys.exit(47)\n")
    assert text.index("sys.exit(48)") < text.index("import gc")
