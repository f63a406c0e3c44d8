"""Values that take a wall away: each is noticed, and its ordinary neighbours are not."""

import os
import pwd
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from pyfpm.config import dangers, load_config, tenants
from pyfpm.config.defaults import fill_pool
from pyfpm.config.includes import read_sources
from pyfpm.config.reach import Person
from pyfpm.config.sections import draft_sections
from pyfpm.config.validation import validate_draft
from pyfpm.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
ONE, OTHER = "daemon", "bin"


def uid_of(name):
    return pwd.getpwnam(name).pw_uid


@pytest.fixture
def place():
    """A folder that every user can enter, and that root alone can write."""
    above = os.path.realpath(tempfile.mkdtemp(prefix="pyfpm-test-"))
    os.chmod(above, 0o755)
    for name in ("", "app", "data", "run"):
        os.mkdir(f"{above}/in/{name}", 0o755)
        os.chmod(f"{above}/in/{name}", 0o755)
    yield f"{above}/in"
    shutil.rmtree(above)


def pool(name, *lines, user=ONE, directory="app"):
    return "\n".join(
        [
            f"[pool:{name}]",
            "app = a:b",
            f"listen = run/{name}.sock",
            "python = /bin/sh",
            f"user = {user}",
            *([f"directory = {directory}"] if directory else []),
            *lines,
            "",
        ]
    )


def write(place, *pools, name="f"):
    path = f"{place}/{name}"
    Path(path).write_text("[pyfpm]\ncontrol = c.sock\n" + "".join(pools))
    os.chmod(path, 0o644)
    return path


def notices_of(place, *pools, **options):
    """The notices of a file with these pools, without the file's name."""
    path = write(place, *pools)
    found = load_config(path, {}, **{"is_root": True, "cores": 1, **options}).notices
    return [str(notice).removeprefix(f"{path}:") for notice in found]


def refusal_of(path, **options):
    with pytest.raises(ConfigError) as caught:
        load_config(path, {}, is_root=True, cores=1, **options)
    return str(caught.value)


# -- one pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["0777", "0700", "0177", "0400"])
def test_umask_that_binds_the_pool_itself_is_noticed(place, mask):
    """Its own files would be closed to it."""
    (notice,) = notices_of(place, pool("a", f"umask = {mask}"))
    assert notice.startswith(f"9: [pool:a] umask: {mask} takes from the pool's user what it makes")


@pytest.mark.parametrize("mask", ["0022", "0077", "0027", "0002", "0000"])
def test_umask_that_binds_others_is_not_noticed(place, mask):
    """Every mask that somebody uses."""
    assert not notices_of(place, pool("a", f"umask = {mask}"))


def test_root_folder_as_a_root_folder_is_noticed(place):
    """It looks like a wall and is none."""
    text = pool("a", "chroot = /", directory=f"{place}/app")
    (notice,) = [one for one in notices_of(place, text) if "is the root folder already" in one]
    assert notice.startswith("9: [pool:a] chroot: / is the root folder already")


def test_root_folder_that_a_process_of_the_same_user_leads_out_of_is_noticed(place):
    """Its own user outside is a way out; another user is none."""
    inside = pool("a", "chroot = in", directory="/app").replace("/bin/sh", "/sh")
    for name in ("proc/self/fd", "app"):
        os.makedirs(f"{place}/in/{name}", exist_ok=True)
    Path(f"{place}/in/sh").write_text("")
    os.chmod(f"{place}/in/sh", 0o755)

    def found(other):
        notices = notices_of(place, inside, pool("b", user=other))
        return [one for one in notices if "runs outside of it" in one]

    (notice,) = found(ONE)
    assert f"chroot: pool b runs outside of it as user {ONE} too" in notice
    assert not found(OTHER)


@pytest.mark.parametrize(("mode", "is_noticed"), [("0666", True), ("0660", False)])
def test_control_socket_for_everybody_is_noticed(place, mode, is_noticed):
    """Whoever may connect reads what the pools of all tenants do."""
    path = write(place, pool("a"))
    text = (
        Path(path)
        .read_text()
        .replace("control = c.sock", f"control = c.sock\ncontrol.mode = {mode}")
    )
    Path(path).write_text(text)
    notices = [str(one) for one in load_config(path, {}, is_root=True, cores=1).notices]
    assert (
        bool([one for one in notices if "control.mode: 0666 lets every user" in one]) == is_noticed
    )


@pytest.mark.parametrize("path", ["/", "/usr/.."])
def test_sandbox_that_lets_the_whole_machine_be_read_is_noticed(place, path):
    """By `directory`, which is read in any sandbox; without one it is just a folder."""
    (notice,) = notices_of(place, pool("a", "sandbox = on", directory=path))
    assert notice.startswith("8: [pool:a] directory: / is the whole machine")
    assert not notices_of(place, pool("a", directory=path))


@pytest.mark.parametrize(
    ("path", "words"),
    [("/", "/ is the whole machine"), ("/etc", "/etc holds what the system is configured by")],
)
def test_sandbox_that_lets_the_system_be_written_is_noticed(place, path, words):
    """Modes alone would protect it."""
    (notice,) = notices_of(place, pool("a", f"sandbox.write = {path} data"))
    assert notice.startswith(f"9: [pool:a] sandbox.write: {words}")
    assert not notices_of(place, pool("a", "sandbox.write = data /var/lib"))


def test_sandbox_that_lets_its_configuration_be_written_is_noticed(place, as_root):
    """Where modes let it, too: a file of root in a folder of root is safe."""
    text = pool("a", "sandbox.write = .")
    assert not notices_of(place, text)
    os.chown(place, uid_of(ONE), -1)
    words = "9: [pool:a] sandbox.write: {0} holds the configuration ({0}/f)"
    assert any(one.startswith(words.format(place)) for one in notices_of(place, text))
    assert not [
        one for one in notices_of(place, pool("a", "sandbox.write = data")) if "holds" in one
    ]


def test_sandbox_that_lets_its_interpreter_be_written_is_noticed(place, as_root):
    """A venv below a folder that is listed; one that root made is safe, one beside it too."""
    os.makedirs(f"{place}/site/venv/bin")
    os.symlink("/bin/sh", f"{place}/site/venv/bin/python")
    text = pool("a", "sandbox.write = site").replace("/bin/sh", "site/venv")
    assert not notices_of(place, text)
    os.chown(f"{place}/site/venv/bin", uid_of(ONE), -1)
    words = f"{place}/site holds the pool's interpreter ({place}/site/venv/bin/python)"
    assert notices_of(place, text)[0].startswith(f"9: [pool:a] sandbox.write: {words}")
    assert not notices_of(place, text.replace("write = site", "write = site/../data"))


def test_default_directory_that_holds_other_pools_is_noticed(place):
    """One pool alone may live beside its file, and so may pools without a sandbox."""
    alone, other = pool("a", "sandbox = on", directory=""), pool("b")
    (notice,) = notices_of(place, alone + other)
    assert notice.startswith("3: [pool:a] directory: is not set, so it is the folder of this file")
    assert f"the sandbox lets the pool read {place}/f, which holds another pool" in notice
    assert not notices_of(place, alone)
    assert not notices_of(place, pool("a", directory="") + other)
    assert not notices_of(place, pool("a", "sandbox = on") + other)


# -- several pools --------------------------------------------------------------------------------


def test_folder_of_a_socket_that_another_tenant_can_write_is_noticed(place, as_root):
    """He can exchange the socket; its own user may have the folder, and root's is everybody's."""
    both = pool("a") + pool("b", user=OTHER)
    assert not notices_of(place, both)
    os.chown(f"{place}/run", uid_of(ONE), -1)
    (notice,) = notices_of(place, both)
    words = f"user {ONE} of pool a can write {place}/run, and so put another socket in the place"
    assert notice.startswith(f"11: [pool:b] listen: {words}")
    assert not notices_of(place, pool("a") + pool("b"))
    os.chown(f"{place}/run", 0, pwd.getpwnam(ONE).pw_gid)
    os.chmod(f"{place}/run", 0o2775)
    assert len(notices_of(place, both)) == 1
    os.chmod(f"{place}/run", 0o3775)
    assert not notices_of(place, both)


def test_socket_for_everybody_is_noticed_where_there_are_other_tenants(place):
    """Alone, with a list of users, or with pools of the same user it may be meant so."""
    text, other = pool("a", "listen.mode = 0666"), pool("b", user=OTHER)
    (notice,) = notices_of(place, text + other)
    assert notice.startswith(
        f"9: [pool:a] listen.mode: 0666 lets every user connect, {OTHER} of pool b among them"
    )
    assert not notices_of(place, text)
    assert not notices_of(place, text + pool("b"))
    assert not notices_of(place, pool("a", "listen.mode = 0660") + other)
    listed = pool("a", "listen.mode = 0666", f"listen.allowed_users = {ONE}")
    assert not notices_of(place, listed + other)


def test_folder_that_two_sandboxes_write_is_noticed(place):
    """Of two users, that is, and not where it is everybody's anyway."""
    os.mkdir(f"{place}/data/in")
    first = pool("a", "sandbox.write = data")
    second = pool("b", "sandbox.write = data/in", user=OTHER)
    found = notices_of(place, first + second)
    assert found[0].startswith(
        f"9: [pool:a] sandbox.write: {place}/data is also for pool b of user {OTHER} to write"
    )
    assert f"({place}/f:16: {place}/data/in)" in found[0]
    assert found[1].startswith("16: [pool:b] sandbox.write:")
    assert not notices_of(place, first + pool("b", "sandbox.write = data/in"))
    assert not notices_of(place, first + pool("b", "sandbox.write = run", user=OTHER))
    os.chmod(f"{place}/data", 0o1777)
    assert not notices_of(place, first + second.replace("data/in", "data"))


# -- the files ------------------------------------------------------------------------------------


def test_file_that_everybody_can_write_is_refused_by_a_root_master(place):
    """Included ones too; a master that is not root has less to give away."""
    main = write(place, "[include]\nfiles = pools/*\n")
    os.mkdir(f"{place}/pools")
    included = write(place, name="pools/a")
    Path(included).write_text(pool("a", directory=f"{place}/app").replace("run/", f"{place}/run/"))
    load_config(main, {}, is_root=True, cores=1)
    for path in (main, included):
        os.chmod(path, 0o666)
        text = f"{path}: everybody can write it (mode 0666), and what stands in it is done with"
        assert refusal_of(main).startswith(text)
        load_config(main, {}, is_root=False, cores=1)
        (notice,) = load_config(main, {}, is_root=True, allow_root=True, cores=1).notices
        assert str(notice).startswith(text)
        os.chmod(path, 0o644)


def test_file_that_a_stranger_made_in_tmp_is_refused(place, as_root):
    """Whoever was first there would be believed."""
    os.mkdir(f"{place}/tmp")
    os.chmod(f"{place}/tmp", 0o1777)
    path = write(place, pool("a", directory=f"{place}/app"), name="tmp/f")
    text = Path(path).read_text().replace("run/", f"{place}/run/")
    Path(path).write_text(text)
    load_config(path, {}, is_root=True, cores=1)
    os.chown(path, 54321, 54321)
    assert refusal_of(path).startswith(f"{path}: user 54321 has made {path} where everybody may")


@pytest.mark.parametrize("what", ["f", "."])
def test_file_or_folder_of_somebody_else_is_noticed(place, what, as_root):
    """By its owner, or by a group that may write; root's own group may."""
    path = f"{place}/{what}"
    text = pool("a")
    assert not notices_of(place, text)
    os.chown(path, 54321, 0)
    (notice,) = notices_of(place, text)
    assert "belongs to user 54321, and what stands in it is done with root's rights" in notice
    os.chown(path, 0, 54321)
    assert not notices_of(place, text)
    if what == ".":
        os.chmod(path, 0o775)
        (notice,) = notices_of(place, text)
        assert f"group 54321 can write folder {place} (mode 0775)" in notice
        os.chown(path, 0, 0)
        assert not notices_of(place, text)


def test_configuration_without_a_file_is_nobodys(place, monkeypatch, as_root):
    """`pyfpm run` has one; the folder in which somebody runs it does not matter."""
    os.chown(place, 54321, 54321)
    monkeypatch.chdir(place)
    text = "[pool:a]\napp = a:b\nlisten = /run/a.sock\npython = /bin/sh\n"
    options = {"is_root": True, "allow_root": True, "cores": 1}
    assert not load_config("<run>", {}, text=text, **options).notices
    Path("f").write_text(text)
    assert load_config("f", {}, **options).notices


# -- ordinary setups ------------------------------------------------------------------------------


def drafts_of(text, path):
    sources = read_sources(path, {}, text)
    _, drafts = draft_sections(path, sources.sections, [])
    for draft in drafts:
        validate_draft(draft, {})
    return [(draft, fill_pool(draft, cores=1, is_root=True)) for draft in drafts]


@pytest.mark.parametrize(
    "page",
    sorted(
        path
        for folder in ("docs", "pools.d", ".")
        for path in (REPOSITORY / folder).glob("**/*" if folder != "." else "*")
        if path.suffix in {".md", ".conf"}
    ),
    ids=lambda page: page.name,
)
def test_nothing_that_is_shipped_or_documented_is_noticed(page):
    """Notices that cry wolf are worse than none."""
    text = page.read_text()
    blocks = (
        [text]
        if page.suffix == ".conf"
        else re.findall(r"^```ini\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    )
    for block in blocks:
        pools = drafts_of(block, str(page))
        files = [dangers.Whereabouts.of(str(page))]
        people = [
            (draft, options, Person(options.user or draft.pool, 60000 + number, frozenset()))
            for number, (draft, options) in enumerate(pools)
        ]
        found = [
            *dangers.notice_default_directories(people),
            *tenants.notice_tenants(people),
            *(one for d, p, who in people for one in dangers.notice_pool(d, p, who, files)),
        ]
        assert not found
