"""A link between two servers that a test cuts, stalls, slows and heals: a TCP proxy on a port of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rembuk.embedded.server import HOST

PIECE = 64 * 1024


class NetworkLink:
    """Forwards connections to `target` as long as it is whole. `rate` limits the bytes a second of each direction of
    each connection; 0: no limit. A stalled link takes connections and bytes, and delivers nothing until it goes on."""

    def __init__(self, target: int) -> None:
        self.rate = 0.0
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._whole = True
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks, and none is made any more."""
        with self._lock:
            self._whole = False
            broken, self._open = self._open, []
        self._flowing.set()
        for one in broken:
            _close(one)

    def stall(self) -> None:
        """Nothing comes through, and nobody is told."""
        self._flowing.clear()

    def heal(self) -> None:
        """As if nothing had been."""
        self.rate = 0.0
        with self._lock:
            self._whole = True
        self._flowing.set()

    def end(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection((HOST, self._target), timeout=5)
            far.settimeout(None)
        except OSError:
            _close(near)
            return
        with self._lock:
            whole = self._whole
            self._open += [near, far] if whole else []
        if not whole:
            _close(near)
            _close(far)
            return
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                self._flowing.wait()
                if self.rate:
                    time.sleep(len(piece) / self.rate)
                sink.sendall(piece)
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def link_to(target: int) -> Iterator[NetworkLink]:
    """A whole link to a port of this machine; it ends with the block."""
    link = NetworkLink(target)
    try:
        yield link
    finally:
        link.end()
