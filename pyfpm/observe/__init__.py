"""What pyfpm shows of itself and of requests: views of either in, text out."""

from pyfpm.observe.access_format import DEFAULT_FORMAT, check_access_format, wants_cpu
from pyfpm.observe.access_line import Answer, Measures, Render, compile_access_format
from pyfpm.observe.access_values import path_of
from pyfpm.observe.document import render_json, status_to_dict
from pyfpm.observe.escaping import LONGEST_LINE_BYTES
from pyfpm.observe.headline import render_headline
from pyfpm.observe.page import Page, answer_ping, answer_status
from pyfpm.observe.status import PoolStatus, ProcessStatus, summarise
from pyfpm.observe.table import render_table
from pyfpm.observe.text import render_text

__all__ = [
    "DEFAULT_FORMAT",
    "LONGEST_LINE_BYTES",
    "Answer",
    "Measures",
    "Page",
    "PoolStatus",
    "ProcessStatus",
    "Render",
    "answer_ping",
    "answer_status",
    "check_access_format",
    "compile_access_format",
    "path_of",
    "render_headline",
    "render_json",
    "render_table",
    "render_text",
    "status_to_dict",
    "summarise",
    "wants_cpu",
]
