import pytest

from pyfpm.cli import main
from pyfpm.cli.init import next_steps, sample_files
from pyfpm.config import UnixAddress, load_config


@pytest.mark.parametrize("user", [None, "www-data"])
def test_written_configuration_is_accepted(tmp_path, user):
    """Both variants load without a problem, with the sample pool listening below the folder."""
    for path, text in sample_files(user).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    config = load_config(
        str(tmp_path / "pyfpm.conf"), {}, is_root=user is not None, check_system=False
    )
    pool = config.pools["hello"]
    assert pool.listen == (UnixAddress(str(tmp_path / "run" / "hello.sock")),)
    assert pool.directory == str(tmp_path / "app")
    assert pool.user == user


def test_sample_application_answers():
    """The sample is a working WSGI application."""
    namespace = {}
    exec(sample_files(None)["app/hello.py"], namespace)
    answers = []
    body = namespace["app"]({"PATH_INFO": "/x"}, lambda *answer: answers.append(answer))
    assert b"".join(body).endswith(b": /x\n")
    assert answers[0][0] == "200 OK"


def test_init_writes_everything_and_says_what_to_do_next(tmp_path, capsys):
    """The files are there, and the commands to try stand on stdout."""
    folder = tmp_path / "site"
    assert main(["init", str(folder)]) == 0
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "app/hello.py",
        "pools.d/hello.conf",
        "pyfpm.conf",
    ]
    out = capsys.readouterr().out
    assert f"pyfpm -c {folder}/pyfpm.conf start" in out


def test_init_overwrites_nothing(tmp_path, capsys):
    """One file in the way and nothing is written at all."""
    (tmp_path / "pyfpm.conf").write_text("precious")
    assert main(["init", str(tmp_path)]) == 1
    assert "pyfpm.conf exists" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["pyfpm.conf"]
    assert (tmp_path / "pyfpm.conf").read_text() == "precious"


def test_next_steps_in_the_current_folder_need_no_option():
    """In the folder itself pyfpm finds its configuration."""
    assert next_steps(".")[1] == "pyfpm start"
