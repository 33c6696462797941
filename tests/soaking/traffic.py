"""The traffic: each function is one kind of client, run again and again at its own pace until the end."""

import base64
import http.client
import json
import random
import socket
import ssl
import struct
import threading
import time

OFFER = json.dumps([{"MerchantProductNo": "LAMP-001", "Stock": 7, "Price": 34.5}]).encode()
READS = ["/v2/orders", "/v2/orders/new", "/v2/products?page=1", "/v2/products/LAMP-001", "/v2/orders?page=2&statuses=NEW"]
NETWORK = (OSError, EOFError, ssl.SSLError)


class Traffic:
    """All clients, each in a thread of its own."""

    def __init__(self, clients, tally, rate):
        self.clients, self.tally = clients, tally
        self.stop, self.rest = threading.Event(), threading.Event()
        part = rate / 300
        # Kind, how many threads, turns a second over all of them. A turn of h2 is four calls.
        plan = [
            (self.reads, 2, 110 * part), (self.writes, 1, 40 * part), (self.h2, 1, 20 * part), (self.refused, 1, 25 * part),
            (self.wrong_keys, 1, 20 * part), (self.limited, 1, 12 * part), (self.uploads, 1, 2 * part),
            (self.downloads, 1, 2 * part), (self.faults, 3, 9 * part), (self.aborted, 1, 6 * part),
            (self.connects, 1, 15 * part), (self.wrong_tls, 1, 4 * part), (self.slow, 4, 2), (self.idle, 1, 1),
        ]
        self.threads = [
            threading.Thread(target=self.again, args=(kind, turns / count), name=kind.__name__, daemon=True)
            for kind, count, turns in plan for _ in range(count)
        ]

    def start(self):
        """Begins."""
        for thread in self.threads:
            thread.start()

    def finish(self, patience):
        """Stops all of it and waits; names threads that hang."""
        self.stop.set()
        deadline = time.monotonic() + patience
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
        return [thread.name for thread in self.threads if thread.is_alive()]

    def again(self, kind, rate):
        """Turns of one kind at a pace: late turns are not made up for."""
        state, due = {}, time.monotonic() + random.random()
        while not self.stop.wait(max(0, due - time.monotonic())):
            due = max(due + 1 / rate, time.monotonic())
            if self.rest.is_set():
                continue
            try:
                kind(state)
            except Exception as error:  # whatever it is, it is evidence
                self.tally.problem(f"{kind.__name__}: {type(error).__name__}: {error}")
                self.renew(state, force=True)
        self.renew(state, force=True)

    def renew(self, state, force=False):
        """Connections do not live for ever."""
        state["turns"] = state.get("turns", 0) + 1
        if force or state["turns"] % 250 == 0:
            kept = state.pop("kept", None)
            if kept:
                try:
                    kept.close()
                except NETWORK:
                    pass

    def kept(self, state, integration, make=None):
        """The connection of this thread."""
        self.renew(state)
        if "kept" not in state:
            state["kept"] = (make or self.clients.h1)(integration)
        return state["kept"]

    def whole(self, kind, answer, expected):
        """A reply that must come whole."""
        status, record, reply = answer
        self.tally.reply(kind, status, record, expected)
        return reply.read()

    def reads(self, state):
        """Reads over a kept connection."""
        client = self.kept(state, "shop")
        self.whole("read", client.call("GET", random.choice(READS)), {200})

    def writes(self, state):
        """Writes over a kept connection."""
        client = self.kept(state, "shop")
        self.whole("write", client.call("PUT", "/v2/offer", OFFER), {200})

    def h2(self, state):
        """Four calls at once over HTTP/2."""
        client = self.kept(state, "shop", self.clients.h2)
        requests = [("GET", random.choice(READS), None) for _ in range(3)] + [("PUT", "/v2/offer", OFFER)]
        for status, record, _ in client.calls(requests):
            self.tally.reply("h2", status, record, {200})

    def refused(self, state):
        """Calls that the policy refuses."""
        path, status = random.choice([("/v2/settings", 403), ("/v2/nothing", 404), ("/v2/orders/%2e%2e", 400),
                                      ("/v2/products//x", 400), ("/v2/orders?apikey=x", 401)])
        client = self.kept(state, "shop")
        self.whole("refused", client.call("GET", path), {status})

    def wrong_keys(self, state):
        """Keys that are missing, misspelt, unknown or revoked."""
        client = self.kept(state, "nobody")
        good = self.clients.keys["shop"]
        key = random.choice([None, "kg_x", good[:-1] + ("a" if good[-1] != "a" else "b"), self.clients.keys["revoked"]])
        self.whole("wrong key", client.call("GET", "/v2/orders", **({"x_ce_key": key} if key else {})), {401})

    def limited(self, state):
        """An integration that calls too often."""
        client = self.kept(state, "limited")
        self.whole("limited", client.call("GET", "/v2/orders"), {200, 429})

    def uploads(self, state):
        """A document of some size."""
        size = random.choice([20_000, 200_000, 1_000_000])
        content = base64.b64encode(random.randbytes(size)).decode()
        body = json.dumps({"InvoiceContent": content, "InvoiceNumber": "1"}).encode()
        client = self.kept(state, "shop")
        self.whole("upload", client.call("POST", "/v2/orders/M-5010/invoice-base64", body), {200})

    def downloads(self, state):
        """A reply of some size, read whole."""
        size = random.choice([100_000, 1_000_000, 4_000_000])
        client = self.kept(state, "shop")
        reply = client.call("GET", "/v2/orders", x_stand_in_faults=f"huge-reply={size}")
        if len(self.whole("download", reply, {200})) < size:
            self.tally.problem("download: a reply came shorter than it was made")

    def faults(self, state):
        """An upstream that goes wrong; the driver knows how. The gate waits 2 s for a head, and once more where a body moved."""
        fault, expected = random.choice([
            ("delay=150ms", {200}), ("cut-after=0", {502}), ("error-every=1", {500}), ("maintenance", {503}), ("gzip", {502}),
            ("cut-after=50", {502}), ("stall-after=50", {504}), ("delay=5s", {504}), ("chunked, trailers", {200}),
            ("huge-reply=2000000, cut-after=700000", {200, 502}), ("echo-key=body-raw, echo-key=header-raw", {200}),
        ])
        client = self.kept(state, "rough")
        method = random.choice(["GET", "GET", "PUT"])
        path, body = ("/v2/orders", None) if method == "GET" else ("/v2/offer", OFFER)
        try:
            status, record, reply = client.call(method, path, body, x_stand_in_faults=fault)
        except http.client.RemoteDisconnected:
            # The reply was cut before its first bytes had left the gate: the client must not take it for a whole one.
            if "cut-after=700000" not in fault:
                raise
            self.tally.event("replies cut by an upstream")
            return self.renew(state, force=True)
        # A connection that is shared with a call whose fault cuts it goes with it, whatever this call's own fault is.
        self.tally.reply(f"fault {fault}", status, record, expected | {502})
        try:
            reply.read()
        except Exception:  # cut on purpose
            self.tally.event("replies cut by an upstream")
            self.renew(state, force=True)

    def aborted(self, _):
        """A client that goes away: inside its request, while it waits, inside the reply."""
        how = random.choice(["request", "waiting", "reply", "handshake"])
        connection = self.clients.tcp()
        if how == "handshake":
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        else:
            connection = self.clients.tls.wrap_socket(connection, server_hostname="localhost")
            fault = "delay=200ms" if how == "waiting" else "huge-reply=3000000"
            method, length = ("POST", 100_000) if how == "request" else ("GET", 0)
            path = "/v2/orders/M-5010/invoice-base64" if how == "request" else "/v2/orders"
            connection.sendall((f"{method} /api{path} HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {self.clients.keys['aborter']}\r\n"
                                f"content-type: application/json\r\nx-stand-in-faults: {fault}\r\n"
                                f"content-length: {length}\r\n\r\n").encode())
            if how == "request":
                connection.sendall(b"x" * 5000)
            if how == "reply":
                connection.recv(20_000)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.tally.event(f"gone while in the {how}" if how != "waiting" else "gone while waiting")

    def connects(self, _):
        """Connections that say nothing, or only shake hands."""
        if random.random() < 0.7:
            self.clients.tcp().close()
            self.tally.event("connected and left")
        else:
            self.clients.secure().close()
            self.tally.event("shook hands and left")

    def wrong_tls(self, _):
        """Old TLS, plain HTTP, garbage."""
        how = random.choice(["tls 1.1", "plain", "garbage", "garbage inside"])
        self.tally.event(f"wrong: {how}")
        connection = self.clients.secure() if how == "garbage inside" else self.clients.tcp()
        with connection:
            try:
                if how == "tls 1.1":
                    # A hello that offers 1.1 and nothing else, by hand: today's libraries no longer make one.
                    hello = b"\x03\x02" + random.randbytes(32) + b"\x00\x00\x04\xc0\x13\x00\xff\x01\x00"
                    connection.sendall(b"\x16\x03\x01" + struct.pack(">H", len(hello) + 4) + b"\x01\x00" +
                                       struct.pack(">H", len(hello)) + hello)
                elif how == "plain":
                    connection.sendall(b"GET /api/v2/orders HTTP/1.1\r\nhost: localhost\r\n\r\n")
                else:
                    connection.sendall(random.randbytes(300) + b"\r\n\r\n")
                answer = connection.recv(4096)
            except NETWORK:
                answer = b""
        if how == "plain" and not answer.startswith(b"HTTP/1.1 400"):
            self.tally.problem(f"plain HTTP was answered with {answer[:60]!r}")
        if answer.startswith(b"HTTP/1.1 2"):
            self.tally.problem(f"{how} was served: {answer[:60]!r}")

    def slow(self, _):
        """A client that takes its time: with its head, its body, or the reply."""
        how = random.choice(["head", "body", "reply"])
        method, path = ("PUT", "/v2/offer") if how == "body" else ("GET", "/v2/orders")
        body = OFFER if how == "body" else b""
        fault = "huge-reply=3000000" if how == "reply" else "chunked"
        head = (f"{method} /api{path} HTTP/1.1\r\nhost: localhost\r\nx-ce-key: {self.clients.keys['shop']}\r\nconnection: close\r\n"
                f"content-type: application/json\r\nx-stand-in-faults: {fault}\r\ncontent-length: {len(body)}\r\n\r\n").encode()
        parts = {"head": [head[i:i + 40] for i in range(0, len(head), 40)], "reply": [head],
                 "body": [head] + [body[i:i + 20] for i in range(0, len(body), 20)]}[how]
        with self.clients.secure() as connection:
            for part in parts:
                connection.sendall(part)
                self.stop.wait(0.1)
            answer = b""
            while chunk := connection.recv(65536 if how == "reply" else 16384):
                answer += chunk if len(answer) < 8192 else b""
                if how == "reply":
                    self.stop.wait(0.02)
        status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        records = [line.split(b": ")[1].decode() for line in answer.split(b"\r\n") if line.startswith(b"keygate-record: ")]
        self.tally.reply(f"slow {how}", status, records[0] if records else None, {200})

    def idle(self, state):
        """Connections that stay open and do nothing for a while."""
        kept = state.setdefault("idle", [])
        kept.append(self.clients.secure())
        if len(kept) > 15:
            kept.pop(0).close()
