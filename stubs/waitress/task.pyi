from waitress.channel import HTTPChannel

class WSGITask:
    channel: HTTPChannel
    chunked_response: bool
    content_length: int | None
    def execute(self) -> None: ...
