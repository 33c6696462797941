"""A server with the API of S3 (moto's) over TLS, with one empty bucket `evidence`. It prints its port; for each line on its
input it prints what the bucket holds, as one JSON object of names and Base64."""

import base64
import json
import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=("server.pem", "server.key"))
threading.Thread(target=server.serve_forever, daemon=True).start()
backend = s3_backends["123456789012"]["aws"]
backend.create_bucket("evidence", "eu-central-1")
print(server.server_port, flush=True)
for _ in sys.stdin:
    keys = backend.buckets["evidence"].keys
    print(json.dumps({name: base64.b64encode(keys[name].value).decode() for name in sorted(keys)}), flush=True)
