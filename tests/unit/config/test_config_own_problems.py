"""What a tenant can do to its own folders must neither stop the others nor the configuration."""

import os
import pwd

import pytest

from pyfpm.config import load_config
from pyfpm.errors import ConfigError
from pyfpm.kernel.folders import real_path

TENANT = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_name == "games"), 5)

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def machine(tmp_path):
    """A folder of root with the home of a tenant in it, and an application."""
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o755)
    for name in ("home", "home/app", "home/run", "other"):
        (tmp_path / name).mkdir(mode=0o755)
    for name in ("home", "home/app", "home/run"):
        os.chown(tmp_path / name, TENANT, TENANT)
    return tmp_path


def load(machine, *lines, spares_others=True):
    """The configuration of a pool of the tenant with these lines, beside another pool."""
    values = dict(line.split(" = ", 1) for line in lines)
    values = {"directory": f"{machine}/home/app", "listen": f"{machine}/own.sock", **values}
    own = "\n".join(f"{key} = {value}" for key, value in values.items())
    text = (
        f"[pool-defaults]\nuser = games\npython = /bin/sh\n[pool:own]\napp = a:b\n{own}\n"
        f"[pool:other]\napp = a:b\ndirectory = {machine}/other\nlisten = {machine}/other.sock\n"
    )
    return load_config(f"{machine}/f", {}, is_root=True, spares_others=spares_others, text=text)


def chain(machine, length=1500):
    """Links that lead one to the next, made by the tenant."""
    links = machine / "home" / "links"
    links.mkdir()
    for number in range(length):
        os.symlink(f"{links}/{number + 1}", links / str(number))
        os.lchown(links / str(number), TENANT, TENANT)
    return links / "0"


@pytest.mark.parametrize(
    "lines",
    [
        ("sandbox = best-effort", "sandbox.write = {chain}"),
        ("sandbox = best-effort", "directory = {chain}"),
        ("directory = {chain}",),
        ("sandbox = best-effort", "python = {chain}/bin/python"),
    ],
    ids=lambda lines: lines[-1].split(" = ")[0],
)
def test_endless_links_are_a_problem_of_their_pool(machine, lines):
    """Whoever follows them one call each runs out of stack."""
    first = chain(machine)
    config = load(machine, *(line.format(chain=first) for line in lines))
    assert config.own_problems
    assert {problem.section for problem in config.own_problems} == {"pool:own"}


def test_links_around_the_root_folder_of_a_pool_are_refused(machine):
    """They end, with a message, also where it is not the pool alone that pays."""
    with pytest.raises(ConfigError, match="chroot"):
        load(machine, f"chroot = {chain(machine)}", spares_others=False)


def own(machine, *lines):
    """The option that each problem of the pool alone is about."""
    return [problem.key for problem in load(machine, *lines).own_problems]


def test_folder_missing_from_one_that_others_write_is_a_problem_of_its_pool(machine):
    """Who made it may remove it: in a folder with the sticky bit, and in one of a group."""
    (machine / "shared").mkdir()
    (machine / "shared").chmod(0o1777)
    assert own(machine, f"directory = {machine}/shared/app") == ["directory"]
    (machine / "group").mkdir()
    os.chown(machine / "group", 0, TENANT)
    (machine / "group").chmod(0o2775)
    assert own(machine, f"directory = {machine}/group/current") == ["directory"]
    (machine / "listed").mkdir()  # as an access list shows, whoever is on it
    (machine / "listed").chmod(0o775)
    assert own(machine, f"directory = {machine}/listed/current") == ["directory"]


def test_folder_missing_from_one_of_root_is_a_problem_of_all(machine):
    """A slip of the operator, found before anything is changed."""
    with pytest.raises(ConfigError, match="does not exist"):
        load(machine, f"directory = {machine}/missing")


def test_what_a_tenant_puts_in_the_place_of_its_socket_is_a_problem_of_its_pool(machine):
    """A file instead of the socket, a file instead of its folder, nothing instead of it."""
    place = machine / "home" / "run" / "s.sock"
    place.write_text("")
    assert own(machine, f"listen = {place}") == ["listen"]
    assert own(machine, f"listen = {place}/below/s.sock") == ["listen"]
    assert own(machine, f"listen = {machine}/home/missing/below/s.sock") == ["listen"]


def test_file_of_root_in_the_place_of_a_socket_is_a_problem_of_all(machine):
    """It is not the tenant's doing."""
    (machine / "file").write_text("")
    with pytest.raises(ConfigError, match="is no socket"):
        load(machine, f"listen = {machine}/file")


def test_real_path_is_what_the_library_says(tmp_path):
    """For links to folders, files and nothing, and for what is missing."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "to-a").symlink_to("a")
    (tmp_path / "to-nothing").symlink_to("nothing/there")
    for path in ("a/b", "to-a/b", "to-a/b/../c/d", "missing/x", "a//b/", "to-a/.."):
        assert real_path(f"{tmp_path}/{path}") == os.path.realpath(f"{tmp_path}/{path}"), path
    assert real_path("/") == "/"
    assert real_path(f"{tmp_path}/to-nothing") == f"{tmp_path}/to-nothing"


def test_advice_for_a_root_folder_opens_nothing_that_a_tenant_points_at(machine):
    """Nor inside a root folder, where an absolute link starts."""
    for name in ("root", "root/closed"):
        (machine / name).mkdir(mode=0o755)
    (machine / "root/closed").chmod(0o700)
    link = machine / "root/site"
    link.symlink_to("/closed")
    assert f"run `chmod o+rx {machine}/root/closed`" in told_of_directory(machine)
    os.lchown(link, TENANT, TENANT)
    assert "chmod" not in told_of_directory(machine)
    assert f"the link {link} leads there, and user games can" in told_of_directory(machine)


def told_of_directory(machine):
    """The one message about it, where the pool has a root folder."""
    lines = f"chroot = {machine}/root", "directory = /site"
    with pytest.raises(ConfigError) as caught:
        load(machine, *lines, spares_others=False)
    (message,) = [one.message for one in caught.value.problems if one.key == "directory"]
    return message


def test_advice_opens_nothing_that_a_tenant_points_at(machine):
    """A link of its own into a closed folder must not have root open that folder."""
    (machine / "closed").mkdir(mode=0o700)
    link = machine / "home" / "site"
    link.symlink_to(machine / "closed")
    os.lchown(link, TENANT, TENANT)
    [problem] = load(machine, f"directory = {link}").own_problems
    assert "chmod" not in problem.message
    assert f"; the link {link} leads there, and user games can change it" in problem.message
