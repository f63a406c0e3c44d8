"""Side-by-side measurements: `python -m benchmarks` runs all of them, `make bench` installs first.

Each module has one job: `install` brings the peers, `peers` starts one of them, `front` is the
nginx before all of them, `load` is wrk, `family` counts what processes use, `bench` runs responders
side by side in interleaved rounds, `tables` measure one thing each, `report` and `plot` tell it.
"""

import sys
from pathlib import Path

# The harness of the tests runs masters and web servers; it is a package in a folder of its own.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
