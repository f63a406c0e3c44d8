"""An application that tries what it is told to, and says how that ended; and pools that run it."""

import glob
import json
import os
import tempfile
import urllib.parse

from harness.fcgi_client import fetch

PROBE = """\
import errno, json, os, subprocess, sys, tempfile, urllib.parse


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True).stdout


def write(path):
    with open(path, "w") as file:
        file.write("written")


def connect(name):
    import socket
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("\\0" + name)


def temporary():
    handle, path = tempfile.mkstemp()
    os.close(handle)
    return path


def database(path):
    import sqlite3
    with sqlite3.connect(path) as base:
        base.execute("create table if not exists notes (text)")
        base.execute("insert into notes values ('one')")
    return base.execute("select count(*) from notes").fetchone()[0]


def modules():
    import mimetypes, ssl, zoneinfo, ctypes, socket, multiprocessing.pool, sqlite3
    ssl.create_default_context()
    zoneinfo.ZoneInfo("Europe/Berlin")
    socket.getaddrinfo("localhost", 80)
    return mimetypes.guess_type("a.png")[0]


def hoard(size):
    kept.append(bytearray(os.urandom(1024)) * (int(size) * 1024))


kept = []
OPERATIONS = {
    "read": lambda path: open(path, errors="replace").read(),
    "list": lambda path: sorted(os.listdir(path)),
    "write": write,
    "truncate": lambda path: os.truncate(path, 0),
    "remove": os.remove,
    "rename": os.rename,
    "mkdir": os.mkdir,
    "run": run,
    "spawn": lambda code: run(sys.executable, "-c", code),
    "kill": lambda pid: os.kill(int(pid), 0),
    "connect": connect,
    "temporary": temporary,
    "database": database,
    "environ": os.environ.get,
    "modules": modules,
    "hoard": hoard,
    "import": lambda name: __import__(name).__file__,
    "pid": os.getpid,
}


def attempt(operation, *arguments):
    try:
        return {"value": OPERATIONS[operation](*arguments)}
    except OSError as error:
        return {"error": errno.errorcode[error.errno]}


def app(environ, start_response):
    words = [urllib.parse.unquote(word) for word in environ["QUERY_STRING"].split("&")]
    body = json.dumps(attempt(*words)).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

FILES = {"probe.py": PROBE}
POOL = """
[pool:{name}]
app = probe:app
listen = %(here)s/{name}.sock
pm = static
pm.max_children = 1
{lines}
"""


def pool(*lines, name="a"):
    """Return the text of a pool with the probe application and these lines."""
    return POOL.format(name=name, lines="\n".join(lines))


def unique(name):
    """Return a name for a pool whose temporary folders no other test has."""
    return f"{name}{os.getpid()}"


def temporary_folders(name):
    """Return the private temporary folders that there are for pools of this name."""
    return glob.glob(f"{tempfile.gettempdir()}/pyfpm-tmp-{name}-" + "?" * 16)


class Site:
    """A pool with the probe application."""

    def __init__(self, fpm, name):
        self.fpm, self.address = fpm, fpm.address(f"{name}.sock")

    def attempt(self, *words):
        """What came of it: its value, or the name of the error."""
        query = "&".join(urllib.parse.quote(str(word)) for word in words)
        response = fetch(self.address, f"/?{query}")
        assert response.status == 200, self.fpm.log.text()
        answer = json.loads(response.body)
        return answer.get("error", answer.get("value"))
