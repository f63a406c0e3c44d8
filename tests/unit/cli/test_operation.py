from pyfpm.cli.operation import render_generations, visible


def test_control_characters_of_applications_are_shown_not_sent():
    """Escape sequences, backspaces and carriage returns do nothing to the terminal."""
    assert visible("a\x1b[31m\r\x08\x9bb\tc\nd é") == "a\\x1b[31m\\x0d\\x08\\x9bb\tc\nd é"


def test_generations_are_one_line_a_pool_then_what_drains():
    """Numbers read as a sentence, for one and for several."""
    result = {
        "pools": {
            "a": {"generation": 1, "draining": 0},
            "b": {"generation": 9, "draining": 1},
            "c": {"generation": 2, "draining": 2},
        },
        "draining": ["pool b: child 7"],
    }
    assert list(render_generations(result)) == [
        "pool a: generation 1 serves",
        "pool b: generation 9 serves, 1 older worker still drains",
        "pool c: generation 2 serves, 2 older workers still drain",
        "draining: pool b: child 7",
    ]
