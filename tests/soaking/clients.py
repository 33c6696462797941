"""Clients: HTTP/1.1 by the standard library, HTTP/2 by the `h2` package, and bare sockets for everything that is wrong."""

import http.client
import socket
import ssl

import h2.config
import h2.connection
import h2.events

TIMEOUT = 20


class Clients:
    """Makes connections to one gate."""

    def __init__(self, place):
        self.port, self.keys = place.gate.port, place.keys
        self.tls = ssl.create_default_context(cafile=str(place.home / "ca.pem"))
        self.tls_h2 = ssl.create_default_context(cafile=str(place.home / "ca.pem"))
        self.tls_h2.set_alpn_protocols(["h2"])

    def tcp(self, timeout=TIMEOUT):
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def secure(self, timeout=TIMEOUT):
        """A connection after its handshake."""
        return self.tls.wrap_socket(self.tcp(timeout), server_hostname="localhost")

    def h1(self, integration):
        """A kept HTTP/1.1 connection."""
        return H1(self, integration)

    def h2(self, integration):
        """A kept HTTP/2 connection."""
        return H2(self, integration)


class H1:
    """One connection, one call after the other."""

    def __init__(self, clients, integration):
        self.connection = http.client.HTTPSConnection("localhost", clients.port, timeout=TIMEOUT, context=clients.tls)
        self.headers = {"x-ce-key": clients.keys[integration]} if integration in clients.keys else {}

    def call(self, method, path, body=None, **headers):
        """Status, record and body of a whole reply."""
        headers = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            headers.setdefault("content-type", "application/json")
        self.connection.request(method, f"/api{path}", body, headers)
        reply = self.connection.getresponse()
        return reply.status, reply.headers.get("keygate-record"), reply

    def close(self):
        """Ends it."""
        self.connection.close()


class H2:
    """One connection, several calls at once."""

    def __init__(self, clients, integration):
        self.socket = clients.tls_h2.wrap_socket(clients.tcp(), server_hostname="localhost")
        self.key = clients.keys[integration]
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.send()

    def send(self):
        """Hands on what the protocol wants to say."""
        self.socket.sendall(self.h2.data_to_send())

    def calls(self, requests):
        """Sends requests (method, path, body) together; yields status, record and length of each whole reply."""
        open_streams = {}
        for method, path, body in requests:
            stream = self.h2.get_next_available_stream_id()
            head = [(":method", method), (":path", f"/api{path}"), (":scheme", "https"), (":authority", "localhost"),
                    ("x-ce-key", self.key)]
            if body is not None:
                head += [("content-type", "application/json"), ("content-length", str(len(body)))]
            self.h2.send_headers(stream, head, end_stream=body is None)
            if body is not None:
                self.h2.send_data(stream, body, end_stream=True)
            open_streams[stream] = [None, None, 0]
        self.send()
        while open_streams:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the gate closed an HTTP/2 connection under its calls")
            for event in self.h2.receive_data(data):
                reply = open_streams.get(getattr(event, "stream_id", None))
                if isinstance(event, h2.events.ResponseReceived):
                    head = dict(event.headers)
                    reply[:2] = int(head[":status"]), head.get("keygate-record")
                elif isinstance(event, h2.events.DataReceived):
                    reply[2] += len(event.data)
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    yield tuple(open_streams.pop(event.stream_id))
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    raise ConnectionError(f"the gate ended an HTTP/2 call: {event}")
            self.send()

    def close(self):
        """Says goodbye and ends it."""
        try:
            self.h2.close_connection()
            self.send()
        finally:
            self.socket.close()
