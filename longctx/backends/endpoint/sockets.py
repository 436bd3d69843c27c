"""The sockets of a client. Closing one does not wake a thread that waits for an answer; shutting it down does."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from collections.abc import Mapping
from typing import Any

_OPENED = ("connect_tcp.complete", "start_tls.complete")


class OpenSockets:
    """Told of by the client's transport, through its `trace` extension. Safe to use from many threads."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_shut = False

    def attend(self, request: Any) -> None:
        """An event hook of the client: be told of the connection that this request opens."""
        request.extensions["trace"] = self._note

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(_OPENED):
            return
        opened = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._open.add(opened)
            if self._is_shut:
                _shut(opened)

    def shut_down(self) -> None:
        """End all connections, those included that are opened from now on."""
        with self._lock:
            self._is_shut = True
            for opened in self._open:
                _shut(opened)


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed by now
        opened.shutdown(socket.SHUT_RDWR)
