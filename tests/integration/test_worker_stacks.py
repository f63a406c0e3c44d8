"""The stacks of a worker, which it tells on a signal whatever it is at."""

import signal
import time

from harness.bare_worker import BareWorker
from harness.machine import wait_until
from harness.slow_app import begin, worker_with

from pyfpm.messages import ReservedSignal


def test_stacks_of_all_threads_are_dumped_while_a_request_runs():
    """With the function that takes long, whatever it waits for."""
    with worker_with(timeout_s=0) as worker, worker.client() as client:
        assert client.request("/", keep=True).status == 200
        begin(worker, client, "/lock")
        time.sleep(0.05)
        worker.signal(ReservedSignal.DUMP_STACKS)
        text = worker.read_stacks()
        assert "slow.py" in text
        assert " in app" in text
        assert "pyfpm/runtime/minder.py" in text
        worker.signal(signal.SIGKILL)


def test_boot_that_hangs_can_be_looked_into():
    """The handler stands before the application is imported."""
    files = {"hanging.py": "import time\ntime.sleep(60)\n"}
    with BareWorker("hanging:app", files=files, wait_ready=False) as worker:
        wait_until(lambda: worker.slot().pid == worker.pid)
        time.sleep(0.1)
        worker.signal(ReservedSignal.DUMP_STACKS)
        assert "hanging.py" in worker.read_stacks()
