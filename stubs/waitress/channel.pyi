import socket

from waitress.task import WSGITask

class HTTPChannel:
    task_class: type[WSGITask]
    socket: socket.socket
