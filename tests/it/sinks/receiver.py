"""A receiver of live sinks: an HTTPS server that checks what it gets with the official libraries.

    receiver.py webhook PORT GOT SECRET    standardwebhooks checks each signature
    receiver.py otlp PORT GOT              opentelemetry-proto reads each request

Certificate and key are `server.pem` and `server.key` of the working folder. PORT 0 takes any; the port is printed. What was
accepted is appended to the file GOT, one JSON object a line, before it is acknowledged. A line on its input, `refuse`,
`take`, `reject` or `wait SECONDS` (refuse, and say so in Retry-After), says what it does with what comes from then on; it says `ok` when that holds.
"""

import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kind, port, got, *secret = sys.argv[1:]
mode = "take"
lock = threading.Lock()


def webhook(headers, body):
    from standardwebhooks import Webhook

    Webhook(open(secret[0]).read().strip()).verify(body, headers, json_parse=False)
    return [{"id": headers["webhook-id"], "line": line} for line in body.decode().splitlines()]


def otlp(headers, body):
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    assert headers["content-type"] == "application/x-protobuf"
    request = ExportLogsServiceRequest.FromString(body)
    accepted = []
    for resource in request.resource_logs:
        named = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_logs:
            for record in scope.log_records:
                attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in record.attributes}
                accepted.append({
                    "line": record.body.string_value,
                    "service": named["service.name"],
                    "scope": scope.scope.name,
                    "time": record.time_unix_nano,
                    "severity": record.severity_number,
                    "event": record.event_name,
                    "attributes": attributes,
                    "authorization": headers.get("authorization"),
                })
    return accepted


def answer(accepted):
    if kind != "otlp":
        return b""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    response = ExportLogsServiceResponse()
    if mode == "reject":
        response.partial_success.rejected_log_records = 1
        response.partial_success.error_message = "one is too long"
    return response.SerializeToString()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            assert mode == "take" or mode == "reject", mode
            accepted = {"webhook": webhook, "otlp": otlp}[kind](headers, body)
        except Exception as error:
            print(repr(error), file=sys.stderr, flush=True)
            self.send_response(429 if mode.startswith("wait") else 503)
            if mode.startswith("wait"):
                self.send_header("Retry-After", mode.split()[1])
            with lock, open("asked", "a") as file:
                file.write(f"{time.monotonic()}\n")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        with lock, open(got, "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"path": self.path, **one}) + "\n" for one in accepted)
        said = answer(accepted)
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
for line in sys.stdin:
    mode = line.strip()
    print("ok", flush=True)
