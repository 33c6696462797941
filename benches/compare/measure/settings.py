"""What is fixed for every run: names, sizes, paths of the calls, and the options of one run."""

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
PEERS = HERE / "peers"
README = REPOSITORY / "benches" / "README.md"
PICTURE = REPOSITORY / "benches" / "compare.svg"
RESULTS = HERE / "results.json"

PROXIES = ("nginx", "haproxy", "envoy", "keygate")
BASELINE = "nginx"

REAL_KEY = "0123456789abcdef0123456789abcdef01234567"
"""What the upstream demands. Only the proxy sends it."""

SMALL_PATH = "/api/v2/orders"
LARGE_PATH = "/api/v2/reports/1"
UPLOAD_PATH = "/api/v2/orders/comment"
FORBIDDEN_PATH = "/api/v2/products"

SMALL_BYTES = 1024
LARGE_BYTES = 1024 * 1024
UPLOAD_BYTES = 100 * 1024

H2_CONNECTIONS = 8
H2_STREAMS = 8
H1_CONNECTIONS = H2_CONNECTIONS * H2_STREAMS
HANDSHAKES = 32
LARGE_CONNECTIONS = 8
UPLOAD_CONNECTIONS = 16
RATE_CONNECTIONS = 8
RATE_PER_SECOND = 1000


class BenchError(Exception):
    """Ends the run with one clear line."""


@dataclass
class Options:
    """One run, as asked for on the command line. Times in seconds."""

    proxies: list = field(default_factory=lambda: list(PROXIES))
    scenarios: list = field(default_factory=list)
    rounds: int = 7
    seconds: float = 3.0
    warm_up: float = 1.0
    idle_connections: int = 5000
    port: int = 18440
    proxy_core: int = 0
    load_core: int = 1
    keygate: Path | None = None
    plain: bool = False
    keep: bool = False
    hurry: bool = False


def small_body():
    """The 1 KB reply: an empty list in the API's envelope, filled up in one field."""
    head = '{"Content":[],"Count":0,"TotalCount":0,"ItemsPerPage":100,"StatusCode":200,"RequestId":null,"LogId":"'
    tail = '","Success":true,"Message":null,"ExceptionType":null,"ValidationErrors":{}}'
    return head + "a" * (SMALL_BYTES - len(head) - len(tail)) + tail


def large_body():
    """The 1 MB reply: a settlement report as CSV."""
    line = "1000001;MKT-1000001;2026-01-31;EUR;12.50;1.25;11.25\n"
    return (line * (LARGE_BYTES // len(line) + 1))[:LARGE_BYTES]
