from pyfpm.cli import main


def test_one_option_is_explained(capsys):
    """The name, the default and the meaning."""
    assert main(["options", "pm.max_spawn_rate"]) == 0
    out = capsys.readouterr().out
    assert "pm.max_spawn_rate" in out
    assert "32" in out


def test_option_not_built_yet_is_marked(capsys):
    """Options of the contract that are not built are listed as such."""
    assert main(["options", "statsd"]) == 0
    assert "not supported yet" in capsys.readouterr().out


def test_misspelt_option_gets_a_hint(capsys):
    """The nearest name is offered."""
    assert main(["options", "pm.max_childs"]) == 64
    assert "did you mean pm.max_children?" in capsys.readouterr().err


def test_all_options_are_listed_without_a_name(capsys):
    """Both sections are there."""
    assert main(["options"]) == 0
    out = capsys.readouterr().out
    assert "in [pyfpm]" in out
    assert "in [pool:NAME]" in out
