"""serve_flup.py MODULE:CALLABLE WORKERS SOCKET: flup6 with a fixed number of processes."""

import importlib
import sys

from flup.server.fcgi_fork import WSGIServer

name, workers, socket = sys.argv[1:]
module, _, attribute = name.partition(":")
sys.path.insert(0, ".")
count = int(workers)
app = getattr(importlib.import_module(module), attribute)
server = WSGIServer(
    app, bindAddress=socket, umask=0, debug=False, minSpare=count, maxSpare=count, maxChildren=count
)
server.run()
