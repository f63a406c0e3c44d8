"""Hello-world throughput: pyfpm and uWSGI in FastCGI mode, behind the same nginx.

Both run two processes on Unix sockets and serve the same file, examples/hello.py. pyfpm has kept
connections, as in the configuration that it ships; uWSGI knows none in FastCGI. nginx has one
process, and wrk one thread with 32 connections. The rounds interleave, so that a noisy minute on
the machine hits both, and the medians are compared. Only the ratio means anything elsewhere.

uWSGI comes from PyPI into build/bench-venv; building it takes a C compiler and python3-dev.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psutil
from report import REPOSITORY, need, print_table, read_machine_facts, write_results

sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.machine import EXAMPLES, IS_ROOT, POOL_USER
from harness.master import Pyfpm
from harness.web_servers import Nginx

UWSGI = "uwsgi==2.0.31"
BENCH_VENV = REPOSITORY / "build" / "bench-venv"
PROCESSES = 2

POOL = f"""
[pool:hello]
app = hello:app
listen = %(here)s/pyfpm.sock
pm = static
pm.max_children = {PROCESSES}
"""

# Each peer gets what it does best: kept connections where it has them.
SITE = """
upstream pyfpm {{ server unix:{pyfpm}; keepalive 32; }}
upstream uwsgi {{ server unix:{uwsgi}; }}
server {{
    listen 127.0.0.1:PORT backlog=4096;
    keepalive_requests 1000000;
    location /pyfpm {{ include pyfpm_params; fastcgi_pass pyfpm; fastcgi_keep_conn on; }}
    location /uwsgi {{ include pyfpm_params; fastcgi_pass uwsgi; }}
}}
"""


def build_uwsgi() -> Path:
    """Install uWSGI into a virtual environment of its own, once; return the program."""
    program = BENCH_VENV / "bin" / "uwsgi"
    if not program.exists():
        script = REPOSITORY / "scripts" / "venv"
        subprocess.run([script, BENCH_VENV, UWSGI], check=True)
    return program


@contextmanager
def running_uwsgi(program: Path, socket: Path):
    """Run uWSGI with its usual settings for speed: a master, no request log."""
    command = [
        program,
        *("--fastcgi-socket", socket, "--chmod-socket=666", "--listen", "1024"),
        *("--master", "--processes", str(PROCESSES), "--need-app", "--die-on-term"),
        *("--disable-logging", "--wsgi-file", EXAMPLES / "hello.py", "--callable", "app"),
    ]
    if IS_ROOT:
        command += ["--uid", POOL_USER, "--gid", POOL_USER]
    log = (socket.parent / "uwsgi.log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def responder_cpu_s(pid: int) -> float:
    """Processor time that a master and everything below it have used so far."""
    family = [psutil.Process(pid)]
    family += family[0].children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in family)


def run_wrk(url: str, seconds: int) -> dict[str, float]:
    done = subprocess.run(
        ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", url],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{url}: not every request was answered:\n{done.stdout}")
    total = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    if not (total and rate and p99):
        sys.exit(f"{url}: cannot read what wrk says:\n{done.stdout}")
    scale = {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]]
    return {"requests": int(total[1]), "rate": float(rate[1]), "p99_ms": float(p99[1]) * scale}


def measure(peer: str, pid: int, url: str, seconds: int) -> dict[str, float]:
    before = responder_cpu_s(pid)
    round_ = run_wrk(f"{url}/{peer}", seconds)
    round_["cpu_us"] = (responder_cpu_s(pid) - before) / round_["requests"] * 1e6
    return round_


def wait_until_served(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"{url} does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    need("wrk")
    uwsgi_program = build_uwsgi()
    facts = read_machine_facts()
    rounds: dict[str, list[dict[str, float]]] = {"pyfpm": [], "uwsgi": []}
    with Pyfpm(POOL) as fpm:
        # uWSGI binds its socket when it has changed its user already.
        uwsgi_folder = fpm.folder / "uwsgi"
        uwsgi_folder.mkdir()
        if IS_ROOT:
            shutil.chown(uwsgi_folder, POOL_USER)
        uwsgi_socket = uwsgi_folder / "uwsgi.sock"
        site = SITE.format(pyfpm=fpm.folder / "pyfpm.sock", uwsgi=uwsgi_socket)
        with running_uwsgi(uwsgi_program, uwsgi_socket) as uwsgi, Nginx(site) as nginx:
            pids = {"pyfpm": fpm.process.pid, "uwsgi": uwsgi.pid}
            for peer in rounds:
                wait_until_served(f"{nginx.url}/{peer}")
                run_wrk(f"{nginx.url}/{peer}", 1)
            for number in range(arguments.rounds):
                for peer, measured in rounds.items():
                    measured.append(measure(peer, pids[peer], nginx.url, arguments.seconds))
                    print(f"round {number + 1} {peer}: {measured[-1]['rate']:,.0f} requests/s")
        uwsgi_socket.unlink(missing_ok=True)
        handed_off = fpm.status("hello")["handed off connections"]
    report(facts, rounds, handed_off)


def report(facts, rounds, handed_off) -> None:
    medians = {
        peer: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for peer, measured in rounds.items()
    }
    ratio = medians["pyfpm"]["rate"] / medians["uwsgi"]["rate"]
    served = sum(one["requests"] for one in rounds["pyfpm"])
    print()
    print_table(
        ["responder", "requests/s", "of uWSGI", "p99 ms", "CPU µs/request"],
        [
            [
                peer,
                f"{one['rate']:,.0f}",
                f"{one['rate'] / medians['uwsgi']['rate']:.2f}",
                f"{one['p99_ms']:.2f}",
                f"{one['cpu_us']:.1f}",
            ]
            for peer, one in medians.items()
        ],
    )
    print(f"\nhanded over: {handed_off} of {served:,} requests ({handed_off / served:.3%})")
    results = {"ratio": ratio, "medians": medians, "rounds": rounds, "handed_off": handed_off}
    write_results("hello_vs_uwsgi", facts, results)


if __name__ == "__main__":
    main()
