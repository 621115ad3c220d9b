"""A pooler in transaction mode, as small as it can be: each transaction of a client goes to whatever server session is next."""

from __future__ import annotations

import itertools
import queue
import socket
import struct
import threading
from contextlib import suppress

import psycopg2.extensions as pg

_SSL_REQUEST = 80877103
_IDLE = b"I"


class TransactionPooler:
    """Speaks enough of the v3 protocol for simple queries, which is what psycopg2 sends.

    A client is let in without a password. Its transactions take turns through `size` server sessions, so that no two in a row of one
    client meet the same session.
    """

    def __init__(self, uri: str, *, size: int) -> None:
        self._dsn = pg.parse_dsn(uri.replace("postgres://", "postgresql://"))
        self._free: queue.Queue[_Server] = queue.Queue()
        for _ in range(size):
            self._free.put(_Server(self._dsn))
        self._ids = itertools.count(900_000)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop, and end the server sessions."""
        self._listener.close()
        while not self._free.empty():
            self._free.get().close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: _Server | None = None
        client.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # many small messages, none of which can wait for the next
        try:
            self._greet(client)
            while True:
                kind, body = message(client)
                if kind == b"X":
                    return
                server = server or self._free.get()
                server.send(kind, body)
                if server.pass_answer_to(client) == _IDLE:
                    self._free.put(server)
                    server = None
        except (OSError, EOFError):
            pass
        finally:
            if server is not None:  # it died inside a transaction: that session is closed, and another takes its place
                server.close()
                with suppress(Exception):  # the database may be gone by now
                    self._free.put(_Server(self._dsn))
            client.close()

    def _greet(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!I", exactly(client, 4))
            body = exactly(client, length - 4)
            if struct.unpack("!I", body[:4])[0] != _SSL_REQUEST:
                break
            client.sendall(b"N")
        greeting = pack(b"R", struct.pack("!I", 0))
        parameters = {
            "server_version": "16.2", "client_encoding": "UTF8", "standard_conforming_strings": "on", "integer_datetimes": "on",
            "DateStyle": "ISO, MDY", "session_authorization": "app", "TimeZone": "UTC",
        }  # fmt: skip
        for name, value in parameters.items():
            greeting += pack(b"S", name.encode() + b"\0" + value.encode() + b"\0")
        greeting += pack(b"K", struct.pack("!II", next(self._ids), 0)) + pack(b"Z", _IDLE)
        client.sendall(greeting)


class _Server:
    """A session on the server, logged in by libpq and then used byte by byte."""

    def __init__(self, dsn: dict[str, str]) -> None:
        import psycopg2

        self._connection = psycopg2.connect(**dsn, sslmode="disable", gssencmode="disable")
        self._socket = socket.socket(fileno=self._connection.fileno())
        self._socket.setblocking(True)

    def send(self, kind: bytes, body: bytes) -> None:
        """Pass a message on."""
        self._socket.sendall(pack(kind, body))

    def pass_answer_to(self, client: socket.socket) -> bytes:
        """Pass on everything up to and including ReadyForQuery; give the state of the transaction."""
        while True:
            kind, body = message(self._socket)
            client.sendall(pack(kind, body))
            if kind == b"Z":
                return body

    def close(self) -> None:
        """End the session."""
        self._socket.detach()
        self._connection.close()


def pack(kind: bytes, body: bytes) -> bytes:
    """Return a message as it is sent."""
    return kind + struct.pack("!I", len(body) + 4) + body


def message(source: socket.socket) -> tuple[bytes, bytes]:
    """Receive a message; return its kind and its content."""
    kind = exactly(source, 1)
    (length,) = struct.unpack("!I", exactly(source, 4))
    return kind, exactly(source, length - 4)


def exactly(source: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
