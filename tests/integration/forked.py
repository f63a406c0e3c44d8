"""Running a piece of a test in a process of its own: its limits, children and title are its own."""

import os
import select
import signal
import traceback


def run_in_child(function, *, timeout_s=10):
    """Fork, call `function` there, and fail here with its traceback if it failed there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            function()
            report = b"ok"
        except BaseException:  # noqa: BLE001 - the forked process ends here either way
            report = traceback.format_exc().encode()
        os.write(writer, report[-60_000:])
        os._exit(0)
    os.close(writer)
    try:
        if not select.select([reader], [], [], timeout_s)[0]:
            os.kill(pid, signal.SIGKILL)
        report = os.read(reader, 65536).decode()
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    if report != "ok":
        raise AssertionError(f"in the forked process:\n{report or 'no answer in time'}")


class Forked:
    """A child that runs `function(receive, tell)` and talks with the test by single bytes.

    `receive()` in the child waits for the next byte of the test, b"" once the test has ended;
    `tell(byte)` answers. The child ends with the block at the latest.
    """

    def __init__(self, function):
        to_child, self._orders = os.pipe()
        self._answers, from_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            os.close(self._answers)
            code = 1
            try:
                function(to_child, lambda byte: os.write(from_child, byte))
                code = 0
            except BaseException:  # noqa: BLE001 - the forked process ends here either way
                traceback.print_exc()
            os._exit(code)
        os.close(to_child)
        os.close(from_child)
        self._ended = False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        os.close(self._orders)
        os.close(self._answers)
        self.kill()

    def order(self, byte):
        os.write(self._orders, byte)

    def hear(self, timeout_s=5.0):
        """Return the child's next byte, None if it says nothing in time, b"" once it has ended."""
        if not select.select([self._answers], [], [], timeout_s)[0]:
            return None
        return os.read(self._answers, 1)

    def kill(self):
        if not self._ended:
            self._ended = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
