"""The parts of the benchmarks that decide what is compared with what."""

from harness.machine import REPOSITORY

from benchmarks.bench import Run, medians, run_rounds
from benchmarks.front import Route, render_parameters


def test_rounds_begin_with_another_responder_each_time():
    """Nobody always comes after the same neighbour, and everybody is measured in every round."""
    seen = []
    measured = run_rounds(
        Run(seconds=1, rounds=4), ["a", "b", "c"], lambda name: seen.append(name) or {"rate": 1.0}
    )
    assert "".join(seen) == "abcbcacababc"
    assert {name: len(rounds) for name, rounds in measured.items()} == {"a": 4, "b": 4, "c": 4}


def test_one_bad_round_does_not_move_the_result():
    """What is told is the median of each figure."""
    rounds = [{"rate": 10.0}, {"rate": 1.0}, {"rate": 11.0}]
    assert medians({"a": rounds, "missing": []}) == {"a": {"rate": 10.0}}


def test_every_responder_gets_the_parameters_that_pyfpm_ships():
    """uWSGI and PHP-FPM receive as many and as long parameters as pyfpm does."""
    shipped = (REPOSITORY / "deploy" / "nginx" / "pyfpm_params").read_text()
    names = [line.split()[1] for line in shipped.splitlines() if line.startswith("fastcgi_param")]
    php = Route("fastcgi", "unix:/sock", parameters={"SCRIPT_FILENAME": "/hello.php"})
    for route in (Route("fastcgi", "unix:/sock"), Route("uwsgi", "unix:/sock"), php):
        lines = [line.split() for line in render_parameters(route).splitlines()]
        assert [line[1] for line in lines] == names
        assert {line[0] for line in lines} == {f"{route.protocol}_param"}
    assert "SCRIPT_FILENAME /hello.php;" in render_parameters(php)
