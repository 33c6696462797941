"""Keygate under test, everything on: set up through its own commands, as its README tells a user to."""

import re
import subprocess

from .process import Process, claim_port
from .settings import REAL_KEY, BenchError

ALLOW = ("orders:read", "orders:write", "reports:read", "shipments:read")
LIMIT = "1000000/s burst 1000000"


class Keygate:
    """The gate, ready to be started again and again."""

    name = "keygate"

    def __init__(self, binary, folder, pki, port, upstream_port, core):
        self.binary, self.folder, self.port, self.core = binary, folder, port, core
        self.ca, self.config = pki.ca, folder / "keygate.toml"
        self._command("init", str(folder), "--upstream", f"https://localhost:{upstream_port}/api")
        upstream, credential = self._edit_server(pki, upstream_port)
        self._command("credential", "put", credential, "--config", str(self.config), stdin=REAL_KEY)
        self.scoped_key = self._add_integration(upstream)

    def _command(self, *arguments, stdin=""):
        done = subprocess.run([self.binary, *arguments], input=stdin, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"`keygate {' '.join(arguments)}` ended with code {done.returncode}:\n"
                             f"{done.stdout}{done.stderr}")
        return done.stdout

    def _edit_server(self, pki, upstream_port):
        """Own certificate, one worker, pinned upstream; returns the upstream's name and its credential's id."""
        text = self.config.read_text()
        name = re.search(r"^\[upstream\.([\w-]+)\]", text, re.M)
        if not name:
            raise BenchError("keygate.toml has no [upstream.NAME] after `keygate init`")
        upstream = name[1]
        settings = {
            "listen": {"address": f'"127.0.0.1:{self.port}"', "certificate": f'"{pki.cert}"',
                       "private_key": f'"{pki.key}"', "workers": "1", "max_connections": "16000",
                       "max_connections_per_source": "16000", "idle_timeout": '"300s"'},
            f"upstream.{upstream}": {"trust_roots": f'"{pki.ca}"', "addresses": f'["127.0.0.1:{upstream_port}"]',
                                     "limit": f'"{LIMIT}"'},
        }
        for section, values in settings.items():
            for key, value in values.items():
                text = set_key(text, section, key, value)
        self.config.write_text(text)
        section = text.split(f"[upstream.{upstream}]", 1)[1].split("\n[", 1)[0]
        credential = re.search(r'^credential\s*=\s*"([^"]+)"', section, re.M)
        return upstream, credential[1] if credential else upstream

    def _add_integration(self, upstream):
        allow = [word for rule in ALLOW for word in ("--allow", rule)]
        out = self._command("integration", "add", "bench", "--upstream", upstream, *allow,
                            "--config", str(self.config))
        key = re.search(r"\bkg_\S+", out)
        if not key:
            raise BenchError(f"`keygate integration add` printed no scoped key:\n{out}")
        text = set_key(self.config.read_text(), "integration.bench", "limit", f'"{LIMIT}"')
        text = set_key(text, "integration.bench", 'limits."GET /v2/orders"', f'"{LIMIT}"')
        self.config.write_text(text)
        return key[0]

    def start(self):
        """Starts it; returns once it listens."""
        claim_port(self.port)
        process = Process(self.name, [self.binary, "run", "--config", self.config], self.core,
                          self.folder / "keygate-output.log", cwd=self.folder)
        process.wait_for_port(self.port)
        return process


def set_key(text, section, key, value):
    """Sets `key` in the TOML table `[section]`, in place of an older value or right below the table's head."""
    head = re.search(rf"^\[{re.escape(section)}\][^\n]*\n", text, re.M)
    if not head:
        raise BenchError(f"keygate.toml has no [{section}]")
    following = re.search(r"^\[", text[head.end():], re.M)
    end = head.end() + following.start() if following else len(text)
    body = text[head.end():end]
    line = f"{key} = {value}\n"
    body, replaced = re.subn(rf"^{re.escape(key)}[ \t]*=[^\n]*\n", lambda _: line, body, count=1, flags=re.M)
    return text[:head.end()] + (body if replaced else line + body) + text[end:]
