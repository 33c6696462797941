"""What an operator does meanwhile: integrations come, change keys and go; files are wrong for a moment; the vault gets
another version of the key."""

import hashlib
import os
import re
import signal
import threading
import time

from gate import REAL_KEYS


class Control:
    """One thread that changes things and looks at once whether they hold."""

    def __init__(self, place, clients, tally):
        self.place, self.clients, self.tally = place, clients, tally
        self.stop = threading.Event()
        self.turns = self.version = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        """Begins."""
        self.thread.start()

    def finish(self):
        """Stops after the present step."""
        self.stop.set()
        self.thread.join(60)

    def run(self):
        """A step every other second, in turn."""
        steps = [self.come_and_go, self.credential, self.by_hand, self.wrong_file, self.needs_restart, self.hang_up, self.health]
        while not self.stop.wait(1.5):
            step = steps[self.turns % len(steps)]
            self.turns += 1
            try:
                step()
                self.tally.event(f"control: {step.__name__}")
            except Exception as error:
                self.tally.problem(f"control, {step.__name__}: {type(error).__name__}: {error}")

    def status(self, key):
        """What a call with this key gets."""
        client = self.clients.h1("nobody")
        try:
            status, record, reply = client.call("GET", "/v2/orders", x_ce_key=key)
            reply.read()
            self.tally.reply("churn", status, record, {200, 401})
            return status
        finally:
            client.close()

    def expect(self, key, status, what):
        """A key must be judged so, now."""
        if (found := self.status(key)) != status:
            self.tally.problem(f"{what}: a call got {found}, not {status}")

    def come_and_go(self):
        """An integration is added, gets another key, is revoked. Each must hold when the command returns."""
        name = f"churn-{self.turns}"
        first = self.place.add(name)
        self.expect(first, 200, f"{name} was added")
        second = self.place.command("integration", "rotate", name).strip()
        self.expect(second, 200, f"{name} was rotated")
        self.expect(first, 401, f"the former key of {name}")
        self.place.command("integration", "revoke", name)
        self.expect(second, 401, f"{name} was revoked")
        del self.place.keys[name]

    def credential(self):
        """Another version of the real key; the stand-ins know it."""
        self.version += 1
        for name in ("acme", "rough"):
            self.place.command("credential", "put", name, stdin=REAL_KEYS[self.version % len(REAL_KEYS)])

    def write(self, text):
        """Replaces the file whole, as an editor does."""
        beside = self.place.config.with_suffix(".new")
        beside.write_text(text)
        beside.chmod(0o600)
        os.replace(beside, self.place.config)
        return hashlib.sha256(text.encode()).hexdigest()

    def await_in_force(self, sha256):
        """The gate must take the file over by itself."""
        deadline = time.monotonic() + 5
        while self.place.in_force() != sha256:
            if time.monotonic() > deadline:
                return self.tally.problem("a changed file was not taken over in 5 s")
            self.stop.wait(0.02)

    def by_hand(self):
        """Takes the integrations that came and went out of the file."""
        text = re.sub(r"\n*\[integration\.churn-\d+\]\n(?:(?!\[).*\n?)*", "\n", self.place.config.read_text())
        self.await_in_force(self.write(text))

    def wrong_file(self):
        """A slip of the pen, and its mending. Calls go on meanwhile."""
        good = self.place.config.read_text()
        self.write(good.replace("orders:*", "ordres:*"))
        self.until_refused()
        self.await_in_force(self.write(good))

    def needs_restart(self):
        """Something that cannot be taken over, and back."""
        good = self.place.config.read_text()
        self.write(good.replace("segment_size = \"256KiB\"", "segment_size = \"2MiB\""))
        self.until_refused()
        self.await_in_force(self.write(good))

    def until_refused(self):
        """Waits until health tells that the file is not in force."""
        deadline = time.monotonic() + 5
        while '"reload_problems":[]' in self.place.ask("/health")[1]:
            if time.monotonic() > deadline:
                return self.tally.problem("a wrong file was not told by health in 5 s")
            self.stop.wait(0.02)

    def hang_up(self):
        """SIGHUP, some at once."""
        for _ in range(5):
            self.place.gate.process.send_signal(signal.SIGHUP)

    def health(self):
        """Health must be good all the time."""
        status, body = self.place.ask("/health")
        if status != 200:
            self.tally.problem(f"health is {status}: {body}")
