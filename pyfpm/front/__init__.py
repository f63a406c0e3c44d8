"""The HTTP front end of `pyfpm run`: waitress, and a FastCGI client towards the pool.

It is one unprivileged process beside the master, for trying an application out. `exchange` and
`cgi_head` are the client side of FastCGI, which `pyfpm ping` and `pyfpm request` use as well.
"""

from pyfpm.front.answer import Answer, read_answer
from pyfpm.front.cgi_head import ReplyHead
from pyfpm.front.exchange import Exchange, connect
from pyfpm.front.process import Front, FrontUser, bind_http, find_front_user, start_front

__all__ = [
    "Answer",
    "Exchange",
    "Front",
    "FrontUser",
    "ReplyHead",
    "bind_http",
    "connect",
    "find_front_user",
    "read_answer",
    "start_front",
]
