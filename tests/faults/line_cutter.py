"""A relay to a server that cuts the line of a client at a message of the test's choice."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from transaction_pooler import exactly, message, pack

_PROTOCOL_3 = b"\x00\x03\x00\x00"


class LineCutter:
    """Passes messages on, and cuts a line where a client sends certain texts one after the other.

    Args:
        port: of the server.
        texts: the line is cut at the message with the last of them, once messages with the others have passed on it.
        is_answered: the server gets that message and answers, but the client never hears it; else the server never gets it.
    """

    def __init__(self, port: int, texts: tuple[bytes, ...], *, is_answered: bool) -> None:
        self._target = port
        self._texts = texts
        self._is_answered = is_answered
        self.has_cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        is_last = threading.Event()
        threading.Thread(target=self._answer, args=(client, server, is_last), daemon=True).start()
        left = list(self._texts)
        with suppress(OSError, EOFError):
            _greet(client, server)
            while True:
                kind, body = message(client)
                if not self.has_cut and left[0] in body and len(left) > 1:
                    left.pop(0)
                elif not self.has_cut and left[0] in body:
                    self.has_cut = True
                    if not self._is_answered:
                        break
                    is_last.set()
                server.sendall(pack(kind, body))
        _hang_up(client, server)

    def _answer(self, client: socket.socket, server: socket.socket, is_last: threading.Event) -> None:
        with suppress(OSError):
            while (data := server.recv(65536)) and not is_last.is_set():
                client.sendall(data)
        _hang_up(client, server)


def _greet(client: socket.socket, server: socket.socket) -> None:
    """Pass on what comes before the messages: requests for encryption, and the beginning of the session."""
    asked = b""
    while asked[:4] != _PROTOCOL_3:
        head = exactly(client, 4)
        asked = exactly(client, int.from_bytes(head) - 4)
        server.sendall(head + asked)


def _hang_up(*lines: socket.socket) -> None:
    for each in lines:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
