"""`python -m benchmarks`: install the peers, measure, print, write, draw."""

import argparse
import compileall
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from harness.machine import REPOSITORY, temporary_folder

from benchmarks import aims, facts, programs, report
from benchmarks.bench import EXCEPTIONS, Run, Table
from benchmarks.install import BENCH, BUILD, VENV, MissingError, install, run
from benchmarks.peers import copy_apps
from benchmarks.tables import (
    bodies,
    boot,
    django_page,
    floods,
    hello,
    kept_vs_closed,
    memory,
    pools,
    printing,
    slow_clients,
    workers,
)
from pyfpm.kernel import prctl

PAGE = REPOSITORY / "docs" / "explanation" / "performance.md"

TABLES: dict[str, Callable[[Run, Path], Table]] = {
    module.__name__.rpartition(".")[2]: module.measure
    for module in (
        hello,
        django_page,
        kept_vs_closed,
        slow_clients,
        floods,
        memory,
        boot,
        bodies,
        pools,
        workers,
        printing,
    )
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=TABLES, metavar="TABLE", help=", ".join(TABLES)
    )
    parser.add_argument("--seconds", type=int, default=3, help="length of a round (3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (5)")
    parser.add_argument(
        "--keep", action="store_true", help=f"write into {PAGE.relative_to(REPOSITORY).parent}, too"
    )
    options = parser.parse_args()
    if options.seconds < 1 or options.rounds < 1:
        parser.error("--seconds and --rounds are 1 at least")
    return options


def main() -> None:
    options = parse_options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    prctl.set_child_subreaper()  # whatever loses its parent stays findable
    try:
        measure_and_tell(options)
    except KeyboardInterrupt:
        print("\ninterrupted: what ran has been ended, nothing is written")
        sys.exit(130)
    finally:
        programs.end_descendants()


def measure_and_tell(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    try:
        missing = install()
    except MissingError as error:
        sys.exit(str(error))
    # A pool's user cannot write byte code into our folder; where pyfpm is installed it is there.
    compileall.compile_dir(REPOSITORY / "pyfpm", quiet=1)
    bench = Run(options.seconds, options.rounds, missing)
    machine = facts.read_machine()
    tables, failed = measure_all(
        bench, [name for name in TABLES if name in (options.only or TABLES)]
    )
    document = {
        "machine": machine,
        "pyfpm": facts.read_pyfpm(),
        "peers": facts.read_peers(),
        "options": {"seconds": options.seconds, "rounds": options.rounds},
        "missing": bench.missing,
        "aims": aims.judge({name: table.figures for name, table in tables.items()}),
        "tables": {name: asdict(table) for name, table in tables.items()},
    }
    report.print_document(document)
    write(document, BUILD)
    if options.keep:
        write(document, PAGE.parent)
        report.write_page(document, PAGE)
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measure_all(bench: Run, names: list[str]) -> tuple[dict[str, Table], list[str]]:
    """Measure one table after the other; one that fails is named and does not end the run."""
    tables, failed = {}, []
    for name in names:
        bench.table = name
        bench.say(f"{name}:")
        try:
            with temporary_folder() as folder:
                tables[name] = TABLES[name](bench, copy_apps(folder))
        except EXCEPTIONS as error:  # the boundary of a table
            bench.missing[f"table {name}"] = f"{type(error).__name__}: {error}"
            bench.say(f"  failed: {type(error).__name__}: {error}")
            failed.append(name)
    return tables, failed


def write(document: report.Document, folder: Path) -> None:
    results = folder / "performance.json"
    report.write_json(document, results)
    print(f"\nwritten: {results.relative_to(REPOSITORY)}")
    done = run([VENV / "bin" / "python", BENCH / "plot.py", results, folder])
    if done.returncode:
        _, _, reason = done.stderr.strip().rpartition("\n")
        print(f"not drawn: {reason}")


def interrupt(*_: object) -> NoReturn:
    """End what runs, in order; a second Ctrl-C does not disturb that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
