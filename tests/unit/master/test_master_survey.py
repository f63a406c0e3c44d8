"""Who decides where a way of a sandbox goes on, and how far that is followed."""

import os

import pytest

from pyfpm.kernel.landlock import EXECUTE, READ, WRITE
from pyfpm.master.survey import Sign, Survey

OWN = os.geteuid()
STRANGER = 54321


@pytest.fixture
def folder(tmp_path):
    """A link in a folder that code may write, and one outside, to a file each."""
    for name in ("data", "site", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("text")
    (tmp_path / "data/link").symlink_to("../secret/file")
    (tmp_path / "site/link").symlink_to("../secret/file")
    return tmp_path


def identity(path):
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino


def signs_of(survey, path):
    with survey.follow(str(path)) as found:
        return found.signs


def stray_of(survey, path, signs=(), access=READ, opened=None):
    with survey.follow(str(path)) as found:
        return survey.find_stray(found, (*signs, *found.signs), access, opened or {})


def test_links_of_the_operator_are_followed_without_a_word(folder):
    """Nobody else could have made them."""
    survey = Survey(OWN, [str(folder / "data")])
    assert signs_of(survey, folder / "site/link") == ()


def test_link_that_code_inside_may_exchange_is_a_sign(folder):
    """Whoever made it, as long as its user could have."""
    survey = Survey(OWN, [str(folder / "data")])
    assert signs_of(survey, folder / "data/link") == (Sign(str(folder / "data/link"), None),)
    (folder / "data/below").mkdir()
    (folder / "data/below/link").symlink_to("../file")
    assert signs_of(survey, folder / "data/below/link")


def test_sign_inside_leads_to_what_is_open_already(folder):
    """With no less than the rights that are asked for."""
    survey = Survey(OWN, [str(folder / "data")])
    path = folder / "data/link"
    sign = Sign(str(path), None)
    assert stray_of(survey, path) == sign
    assert stray_of(survey, path, opened={identity(folder / "secret"): READ}) is None
    assert stray_of(survey, path, opened={identity(folder): WRITE}) is None
    assert stray_of(survey, path, access=EXECUTE, opened={identity(folder): WRITE}) == sign
    assert stray_of(survey, path, opened={identity(folder / "data"): WRITE}) == sign


def test_sign_of_a_user_leads_to_what_is_that_users(folder):
    """And nothing that is another's."""
    survey = Survey(OWN, [])
    path = folder / "site/file"
    assert stray_of(survey, path, signs=[Sign("/x", OWN)]) is None
    assert stray_of(survey, path, signs=[Sign("/x", STRANGER)]) == Sign("/x", STRANGER)
    both = [Sign("/x", OWN), Sign("/y", STRANGER)]
    assert stray_of(survey, path, signs=both) == Sign("/y", STRANGER)


def test_every_sign_may_lead_to_the_systems_interpreter(folder):
    """Most venvs are made from it, by whomever."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip("the system has no Python")
    survey = Survey(OWN, [str(folder)])
    assert stray_of(survey, python, signs=[Sign("/x", STRANGER)], access=EXECUTE) is None
    assert stray_of(survey, "/bin/sh", signs=[Sign("/x", STRANGER)], access=EXECUTE)


def test_owners_on_a_fuse_mount_are_not_believed(folder):
    """Its server says who owns what, so all of it is the user's who mounted it."""
    survey = Survey(OWN, [], {os.stat(folder).st_dev: STRANGER}.get)
    with survey.follow(str(folder / "site/link")) as found:
        assert found.owner == STRANGER
        assert found.signs[-1] == Sign(str(folder / "site/link"), STRANGER)


def test_file_of_the_operator_says_what_root_says(folder):
    """One that code inside may write does not."""
    with Survey(OWN, []).read(str(folder / "site/file")) as (file, signs):
        assert file.read() == b"text"
        assert signs == ()
    with Survey(OWN, [str(folder / "site")]).read(str(folder / "site/file")) as (_, signs):
        assert signs == (Sign(str(folder / "site/file"), None),)


def test_what_is_no_file_is_not_waited_for(folder):
    """A FIFO has its reader wait for a writer."""
    os.mkfifo(folder / "fifo")
    with (
        pytest.raises(OSError, match="not a regular file"),
        Survey(OWN, []).read(str(folder / "fifo")),
    ):
        pass
