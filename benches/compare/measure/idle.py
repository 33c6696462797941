"""Many TLS connections that have made one call each and now stay open."""

import socket
from concurrent.futures import ThreadPoolExecutor

from . import checks
from .settings import SMALL_PATH, BenchError

OPENERS = 8
"""Threads that open connections; the proxy's core is the limit, not they."""


class IdleConnections:
    """`count` open connections to a proxy, closed on exit."""

    def __init__(self, proxy, count):
        self.proxy, self.context, self.count = proxy, checks.context(proxy.ca), count
        self.open = []

    def __enter__(self):
        try:
            with ThreadPoolExecutor(OPENERS) as pool:
                self.open = list(pool.map(lambda _: self._one(), range(self.count)))
        except OSError as error:
            raise BenchError(f"{self.proxy.name}: opening {self.count} connections failed: {error}") from error
        return self

    def __exit__(self, *_):
        for connection in self.open:
            connection.close()

    def _one(self):
        plain = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=20)
        connection = self.context.wrap_socket(plain, server_hostname="localhost")
        self.call(connection)
        return connection

    def call(self, connection):
        """One call on an open connection, its reply read to the end."""
        request = f"GET {SMALL_PATH} HTTP/1.1\r\nHost: localhost\r\nX-CE-KEY: {self.proxy.scoped_key}\r\n\r\n"
        connection.sendall(request.encode())
        head, body = self._read_head(connection)
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{self.proxy.name}: an idle connection got {head[:100]!r}")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                      if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._read(connection)

    def _read_head(self, connection):
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._read(connection)
        return got.split(b"\r\n\r\n", 1)

    def _read(self, connection):
        if not (part := connection.recv(65536)):
            raise BenchError(f"{self.proxy.name} closed an idle connection")
        return part

    def still_work(self):
        """Every fiftieth connection answers another call, so they were idle and not dead."""
        for connection in self.open[::50]:
            self.call(connection)
