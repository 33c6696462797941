"""Python's own HTTP library: names as they come over the wire, many calls on one connection.

Reads {"base_url", "ca", "key"} on its input, prints one JSON object.
"""
import http.client
import json
import ssl
import sys
from urllib.parse import urlsplit

told = json.load(sys.stdin)
url = urlsplit(told["base_url"])
connection = http.client.HTTPSConnection(url.hostname, url.port, context=ssl.create_default_context(cafile=told["ca"]), timeout=30)
key = {"X-CE-KEY": told["key"]}
CALLS = [
    ("GET", "/v2/orders", key),
    ("GET", "/v2/orders?apikey=" + told["key"], {}),
    ("GET", "/v2/orders", {}),
    ("GET", "/v2/settings", key),
    ("GET", "/v2/orders/../settings", key),
    ("GET", "/v2/nothing", key),
]
statuses, names, sockets = [], set(), set()
for method, path, headers in CALLS:
    connection.request(method, url.path + path, headers=headers)
    sockets.add(connection.sock)
    reply = connection.getresponse()
    body = reply.read()
    statuses.append(reply.status)
    names.update(name for name, _ in reply.getheaders())
    assert json.loads(body)["StatusCode"] == reply.status, body
json.dump({"statuses": statuses, "names": sorted(names), "one_connection": len(sockets) == 1}, sys.stdout)
