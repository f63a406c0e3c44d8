"""Prints lines of 80 bytes, a write each, as `print` does: for a request, or as a program.

`python printer.py ORDERS ANSWERS` takes `seconds rate` from one FIFO and puts how many lines it has
printed into the other. A rate of 0 is as fast as it can.
"""

import os
import sys
import time
from urllib.parse import parse_qs

LINE = b"debug: " + b"x" * 72 + b"\n"
_AT_ONCE = 20


def print_lines(seconds, rate):
    begun, printed = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        if rate and printed >= rate * passed:
            time.sleep(0.0005)
            continue
        for _ in range(_AT_ONCE if not rate else 1):
            os.write(2, LINE)
            printed += 1
    return printed


def app(environ, start_response):
    query = {key: float(found[0]) for key, found in parse_qs(environ["QUERY_STRING"]).items()}
    body = b"%d" % print_lines(query["seconds"], query["rate"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    while True:
        with open(sys.argv[1]) as orders:
            seconds, rate = map(float, orders.read().split())
        count = print_lines(seconds, rate)
        with open(sys.argv[2], "w") as answers:
            answers.write(str(count))
