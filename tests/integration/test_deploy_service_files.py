"""The files for systemd and logrotate, as shipped: understood by the programs they are for."""

import re
import shutil
import subprocess
import sys

from harness.fcgi_client import fetch
from harness.machine import REPOSITORY, temporary_folder, web_server_missing
from harness.master import Pyfpm

from pyfpm.config import load_text

DEPLOY = REPOSITORY / "deploy"
POOL = """
[pool:hello]
app = hello:app
listen = %(here)s/hello.sock 127.0.0.1:81
listen.owner = root
"""


def program(name):
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if found is None:
        web_server_missing(name)
    return found


def service():
    return (DEPLOY / "systemd" / "pyfpm.service").read_text()


def test_units_are_understood():
    """No unknown setting, no value that systemd would ignore."""
    analyze = program("systemd-analyze")
    shown = subprocess.run([analyze, "--version"], capture_output=True, text=True, check=True)
    version = int(re.search(r"systemd (\d+)", shown.stdout)[1])
    text = service().replace("/usr/local/bin/pyfpm", sys.executable)
    if version < 253:
        text = text.replace("Type=notify-reload", "Type=notify")
    with temporary_folder() as folder:
        (folder / "pyfpm.service").write_text(text)
        shutil.copy(DEPLOY / "systemd" / "pyfpm-web.socket", folder)
        (folder / "pyfpm.service.d").mkdir()
        shutil.copy(DEPLOY / "systemd" / "chroot.conf", folder / "pyfpm.service.d")
        done = subprocess.run(
            [analyze, "verify", folder / "pyfpm.service", folder / "pyfpm-web.socket"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert str(folder) not in done.stderr, done.stderr
        assert "pyfpm" not in done.stderr, done.stderr


def test_the_stop_has_more_time_than_the_master_takes():
    """Otherwise systemd kills workers that the master still waits for."""
    pool = "[pool:a]\napp = a:b\nlisten = /run/a.sock\n"
    main = load_text(pool, "<test>", {}, is_root=True, check_system=False).main
    given_s = int(re.search(r"^TimeoutStopSec=(\d+)$", service(), re.MULTILINE)[1])
    assert given_s >= main.process_control_timeout + 5


def test_the_capabilities_of_the_unit_suffice(as_root):
    """Users are changed, sockets given away, low ports bound, workers ended, with no others."""
    setpriv = program("setpriv")
    names = re.search(r"^CapabilityBoundingSet=(.*)$", service(), re.MULTILINE)[1].split()
    kept = ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
    launcher = [setpriv, f"--bounding-set=-all,{kept}", "--no-new-privs"]
    with Pyfpm(POOL, launcher=launcher) as fpm:
        assert fetch(fpm.address("hello.sock")).status == 200
        assert fpm.command("status").returncode == 0


def test_the_log_is_rotated_as_logrotate_understands_it():
    """A dry run of the shipped file."""
    logrotate = program("logrotate")
    with temporary_folder() as folder:
        log = folder / "pyfpm.log"
        log.write_text("a line\n")
        text = (DEPLOY / "logrotate" / "pyfpm").read_text()
        text = text.replace("/var/log/pyfpm.log", str(log))
        (folder / "pyfpm").write_text(text)
        done = subprocess.run(
            [logrotate, "-d", "-f", folder / "pyfpm"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr.replace("error log", ""), done.stderr
        assert "log needs rotating" in done.stderr
        assert "running postrotate script" in done.stderr
