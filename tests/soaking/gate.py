"""The programs under test: two stand-in merchant APIs and the gate before them, set up by the gate's own commands."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
from pathlib import Path

PATIENCE = 30
REAL_KEYS = [secrets.token_hex(20) for _ in range(200)]
SHOP = ["orders:*", "products:*", "offers:*", "shipments:*", "documents:*"]


class Program:
    """A program that prints `ready URL`."""

    def __init__(self, name, command, folder):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=folder)
        line = self.process.stdout.readline().decode()
        found = re.match(r"ready https://127\.0\.0\.1:(\d+)", line)
        if not found:
            raise RuntimeError(f"{name} did not start: {line!r} {self.log.read_text()[-2000:]}")
        self.port, self.pid = int(found[1]), self.process.pid
        # Nobody may ever wait for a reader of its output.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self, number=signal.SIGTERM):
        """Asks it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE + 15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "killed: it did not end by itself"

    def memory(self):
        """Resident memory, KiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def descriptors(self):
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def processor(self):
        """Seconds of processor time used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Place:
    """The folder of a run, and everything that runs in it."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(Path(binary).resolve()), folder
        self.home = folder / "gate"
        self.config = self.home / "keygate.toml"
        self.keys = {}
        self.upstreams = {name: self.stand_in(name) for name in ("acme", "rough")}
        self.set_up()
        self.gate = Program("gate", [self.binary, "--config", str(self.config), "run"], folder)

    def stand_in(self, name):
        """A merchant API; `rough` lets calls choose what goes wrong."""
        (self.folder / f"{name}.keys").write_text("\n".join(REAL_KEYS) + "\n")
        command = [self.binary, "stand-in", "--key-file", f"{name}.keys", "--ca-out", f"{name}-ca.pem", "--faults-by-header"]
        return Program(name, command, self.folder)

    def command(self, *arguments, stdin="", fails=False):
        """Runs a command of the gate; its standard output."""
        done = subprocess.run([self.binary, "--config", str(self.config), *arguments], input=stdin, capture_output=True,
                              text=True, timeout=PATIENCE)
        if (done.returncode != 0) != fails:
            raise RuntimeError(f"`keygate {' '.join(arguments)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout if not fails else done.stderr

    def lines(self, *arguments):
        """The lines that a command prints, one at a time: there may be more of them than fit into memory."""
        command = [self.binary, "--config", str(self.config), *arguments]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            yield from process.stdout
        if process.returncode != 0:
            raise RuntimeError(f"`keygate {' '.join(arguments)}` ended with {process.returncode}")

    def set_up(self):
        """The gate's folder: two upstreams, the integrations of the traffic."""
        init = ["init", str(self.home), "--upstream", self.base("acme"), "--upstream-name", "acme"]
        subprocess.run([self.binary, *init], check=True, capture_output=True)
        text = self.config.read_text()
        text = re.sub(r'(?m)^address = .*$', 'address = "127.0.0.1:0"', text, count=1)
        text = re.sub(r'(?m)^limit = "10000/15min".*$', "", text, count=1)
        # So small that segments end, and are sealed, within the first seconds: what that needs of memory belongs to the warm-up.
        text = text.replace("[audit]", '[audit]\nsegment_size = "256KiB"', 1)
        text = text.replace('type = "age"', 'type = "age"\nrefresh = "1s"', 1)
        text += "".join(self.upstream(name) for name in ("rough",))
        text = text.replace(f'base_url = "{self.base("acme")}"', f'base_url = "{self.base("acme")}"\n{self.reach("acme")}', 1)
        self.config.write_text(text)
        for name in ("acme", "rough"):
            self.command("credential", "put", name, stdin=REAL_KEYS[0])
        for name in ("shop", "aborter", "revoked"):
            self.add(name)
        self.add("limited", "--limit", "5/s burst 5")
        self.add("rough", upstream="rough")
        self.command("integration", "revoke", "revoked")

    def base(self, name):
        """Where an upstream's API begins."""
        return f"https://localhost:{self.upstreams[name].port}/api"

    def reach(self, name):
        """How an upstream on this machine is reached."""
        port = self.upstreams[name].port
        return f'trust_roots = "../{name}-ca.pem"\naddresses = ["127.0.0.1:{port}"]\n'

    def upstream(self, name):
        """A section for an upstream that loses its patience soon."""
        return (f'\n[upstream.{name}]\nprofile = "channelengine"\nbase_url = "{self.base(name)}"\ncredential = "{name}"\n'
                f'{self.reach(name)}head_timeout = "2s"\nbody_timeout = "1s"\ntotal_timeout = "8s"\n')

    def add(self, name, *more, upstream="acme"):
        """An integration that may do what shops do."""
        allow = [word for rule in SHOP for word in ("--allow", rule)]
        self.keys[name] = self.command("integration", "add", name, "--upstream", upstream, *allow, *more).strip()
        return self.keys[name]

    def ask(self, path):
        """What the admin socket says: status and body."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE)
            admin.connect(str(self.home / "audit" / "admin.sock"))
            admin.sendall(f"GET {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split(" ")[1]), body

    def in_force(self):
        """SHA-256 of the configuration in force."""
        return json.loads((self.home / "audit/running").read_text().splitlines()[0])["in_force"]

    def stop(self):
        """Ends everything that still runs."""
        for program in [getattr(self, "gate", None), *self.upstreams.values()]:
            if program and program.process.poll() is None:
                program.stop()
