"""Is the job really done? Right bytes for an allowed call, a refusal without a key and off the allowlist."""

import http.client
import ssl

from .settings import (FORBIDDEN_PATH, LARGE_PATH, SMALL_PATH, UPLOAD_BYTES, UPLOAD_PATH, BenchError, large_body,
                       small_body)


def context(ca):
    """A client's TLS context that trusts the benchmark's CA and asks for HTTP/1.1."""
    made = ssl.create_default_context(cafile=str(ca))
    made.set_alpn_protocols(["http/1.1"])
    return made


def call(proxy, method, path, key, body=None):
    """One call over a connection of its own: (status, body)."""
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=10, context=context(proxy.ca))
    try:
        headers = {"X-CE-KEY": key} if key else {}
        connection.request(method, path, body=body, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{proxy.name}: {method} {path} failed: {error!r}") from error
    finally:
        connection.close()


def quick(proxy):
    """One allowed call; the 200 shows that the real key arrived upstream."""
    _expect(proxy, "GET", SMALL_PATH, proxy.scoped_key, (200,), small_body().encode())


def replies(proxy):
    """Every kind of call that is measured."""
    quick(proxy)
    _expect(proxy, "GET", LARGE_PATH, proxy.scoped_key, (200,), large_body().encode())
    _expect(proxy, "PUT", UPLOAD_PATH, proxy.scoped_key, (200,), small_body().encode(), body=b"x" * UPLOAD_BYTES)


def thorough(proxy):
    """Every kind of call that is measured, and the refusals: no key, unknown key, off the allowlist."""
    replies(proxy)
    _expect(proxy, "GET", SMALL_PATH, None, (401, 403))
    _expect(proxy, "GET", SMALL_PATH, "kg_not-a-key", (401, 403))
    _expect(proxy, "GET", FORBIDDEN_PATH, proxy.scoped_key, (403,))


def _expect(proxy, method, path, key, statuses, content=None, body=None):
    status, got = call(proxy, method, path, key, body)
    if status not in statuses:
        raise BenchError(f"{proxy.name}: {method} {path} gave {status}, not {statuses}: {got[:200]!r}")
    if content is not None and got != content:
        raise BenchError(f"{proxy.name}: {method} {path} gave {len(got)} bytes that differ from the upstream's "
                         f"{len(content)}")
