"""A request that runs out of memory is answered, and its worker leaves."""

from harness.bare_worker import BareWorker

from pyfpm.messages import Draining


def test_memory_error_is_503_and_the_worker_leaves():
    """The process may be damaged, so nobody waits for a replacement."""
    app = """\
import torture
def app(environ, start_response):
    if environ["PATH_INFO"] == "/big":
        bytearray(1 << 60)
    return torture.reply(start_response, b"ok")
"""
    with BareWorker("hungry:app", files={"hungry.py": app}) as worker, worker.client() as client:
        assert client.request("/", keep=True).status == 200
        response = client.request("/big", keep=True)
        assert (response.status, response.complete) == (503, True)
        worker.log.wait_for("'GET /big' ran out of memory")
        assert worker.expect(Draining).reason == "out_of_memory"
        assert worker.wait_for_end() == 0
        assert worker.slot().requests_5xx == 1


def test_request_that_uses_up_all_its_address_space_gets_its_answer():
    """There is nothing left when the answer has to be made, but what was set aside."""
    app = """\
import resource, torture
CHAIN = None
def app(environ, start_response):
    global CHAIN
    if environ["PATH_INFO"] == "/big":
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * 4096
        del statm  # and its buffer, which would be free memory later
        resource.setrlimit(resource.RLIMIT_AS, (size + (20 << 20),) * 2)
        step = 1 << 20
        while step:
            try:
                while True:
                    CHAIN = CHAIN, bytearray(step)
            except MemoryError:
                step //= 2
        while True:
            CHAIN = CHAIN, None
    return torture.reply(start_response, b"ok")
"""
    with BareWorker("hungry:app", files={"hungry.py": app}) as worker, worker.client() as client:
        response = client.request("/big", keep=True)
        assert (response.status, response.complete) == (503, True)
        worker.log.wait_for("'GET /big' ran out of memory")
        assert worker.expect(Draining).reason == "out_of_memory"
        assert worker.wait_for_end() == 0
