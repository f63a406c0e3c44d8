"""What pyfpm shows of itself: views of the scoreboard in, text out."""

from pyfpm.observe.document import render_json, status_to_dict
from pyfpm.observe.headline import render_headline
from pyfpm.observe.page import Page, answer_ping, answer_status
from pyfpm.observe.status import PoolStatus, ProcessStatus, summarise
from pyfpm.observe.table import render_table
from pyfpm.observe.text import render_text

__all__ = [
    "Page",
    "PoolStatus",
    "ProcessStatus",
    "answer_ping",
    "answer_status",
    "render_headline",
    "render_json",
    "render_table",
    "render_text",
    "status_to_dict",
    "summarise",
]
