import socket
from collections.abc import Callable, Iterable, Sequence

from waitress.channel import HTTPChannel

class TcpWSGIServer:
    channel_class: type[HTTPChannel]
    def run(self) -> None: ...

def create_server(
    application: Callable[..., Iterable[bytes]],
    *,
    sockets: Sequence[socket.socket],
    threads: int,
    ident: str,
    connection_limit: int,
    asyncore_use_poll: bool,
    log_socket_errors: bool,
) -> TcpWSGIServer: ...
