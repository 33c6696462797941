"""The rivals: their configuration filled in from `peers/`, and how each is started."""

import re
import secrets

from . import tools
from .process import Process, claim_port
from .settings import PEERS, REAL_KEY, BenchError

SCOPED_KEY = "bench_" + secrets.token_hex(24)
"""What clients send to the rivals; Keygate issues its own."""


def render(template, folder, pki, **values):
    """Fills the `@NAME@` places of a file in `peers/` and writes it into `folder`."""
    known = {"DIR": folder, "CERT": pki.cert, "KEY": pki.key, "CERT_AND_KEY": pki.cert_and_key, "CA": pki.ca,
             "REAL_KEY": REAL_KEY, "SCOPED_KEY": SCOPED_KEY, **values}
    text = (PEERS / template).read_text()
    for name in set(re.findall(r"@([A-Z_]+)@", text)):
        if name not in known:
            raise BenchError(f"{template} has a place @{name}@ that nothing fills")
        text = text.replace(f"@{name}@", str(known[name]))
    out = folder / template
    out.write_text(text)
    return out


class Peer:
    """A rival, ready to be started again and again."""

    _TEMPLATES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml"}

    def __init__(self, name, folder, pki, port, upstream_port, core):
        self.name, self.folder, self.port, self.core = name, folder, port, core
        self.scoped_key, self.ca = SCOPED_KEY, pki.ca
        folder.mkdir()
        self.config = render(self._TEMPLATES[name], folder, pki, PORT=port, UPSTREAM_PORT=upstream_port)

    def _argv(self):
        if self.name == "nginx":
            return ["nginx", "-p", self.folder, "-c", self.config, "-g", "daemon off; user root;"]
        if self.name == "haproxy":
            return ["haproxy", "-f", self.config, "-db"]
        return [tools.envoy(), "-c", self.config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]

    def start(self):
        """Starts it with empty logs; returns once it listens."""
        claim_port(self.port)
        for old in [*self.folder.glob("*.log")]:
            old.unlink()
        process = Process(self.name, self._argv(), self.core, self.folder / f"{self.name}-output.log")
        process.wait_for_port(self.port)
        return process
