"""Thin, typed doors to Linux facilities that the standard library does not open by itself.

Each module is one facility: `prctl`, `descriptors` (passing them), `memfd`, `pidfd`, `sock_diag`
(listen queues), `watch` (epoll arming), `title` (what ps shows). Everything here raises OSError
as the os module does.
"""
