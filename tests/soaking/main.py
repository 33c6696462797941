"""Soaks the gate; see tests/soak."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from clients import Clients  # noqa: E402
from control import Control  # noqa: E402
from gate import PATIENCE, Place  # noqa: E402
from judge import Log, can_fail, memory  # noqa: E402
from tally import Tally  # noqa: E402
from traffic import Traffic  # noqa: E402


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (30)")
    parser.add_argument("--rate", type=float, default=300, help="calls a second, about (300)")
    parser.add_argument("--binary", required=True, help="the gate")
    parser.add_argument("--evidence", type=Path, required=True, help="where the run lies, kept when something did not hold")
    return parser.parse_args()


class Soak:
    """One run."""

    def __init__(self, args):
        self.args = args
        self.folder = args.evidence.resolve()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.tally, self.samples, self.wrong, self.rows = Tally(), [], [], []

    def run(self):
        """Runs it; whether everything held."""
        self.place = Place(self.args.binary, self.folder)
        try:
            self.gate = self.place.gate
            self.baseline = self.gate.descriptors()
            clients = Clients(self.place)
            self.traffic, self.control = Traffic(clients, self.tally, self.args.rate), Control(self.place, clients, self.tally)
            self.traffic.start()
            self.control.start()
            self.watch()
            self.end()
        finally:
            self.place.stop()
        return not self.wrong

    def watch(self):
        """Tells how things are every ten seconds. Memory is judged at rest: before each sample the traffic pauses for two
        seconds, so that what calls hold while they are under way, more on a busy machine, is not taken for a leak."""
        began, seconds = time.monotonic(), self.args.minutes * 60
        warm_up = min(seconds / 4, 300)
        for second in range(1, int(seconds) + 1):
            self.traffic.stop.wait(max(0, began + second - time.monotonic()))
            if self.gate.process.poll() is not None:
                self.wrong.append(f"the gate ended by itself with {self.gate.process.returncode}")
                return
            if second % 10 == 7:
                self.traffic.rest.set()
            if second % 10 == 9:
                if second > warm_up:
                    self.samples.append(self.gate.memory())
                self.traffic.rest.clear()
            if second % 10 == 0:
                print(f"{second:6} s  {self.tally.total():8} replies  {self.gate.memory() / 1024:6.1f} MiB  "
                      f"{self.gate.descriptors():4} descriptors  {self.gate.processor():7.1f} s CPU  "
                      f"{self.tally.problem_count} problems", flush=True)
        self.seconds = time.monotonic() - began

    def end(self):
        """Stops the traffic, then everything, and judges."""
        self.control.finish()
        if hanging := self.traffic.finish(PATIENCE):
            self.wrong.append(f"clients that hang: {', '.join(hanging)}")
        self.wrong += self.tally.problems
        if self.gate.process.poll() is not None:
            return
        self.row("replies", f"{self.tally.total()} ({self.tally.total() / self.seconds:.0f}/s), {self.tally.problem_count} unexpected")
        self.row("processor time", f"{self.gate.processor():.0f} s of {self.seconds:.0f} s")
        flat, told = memory(self.samples)
        self.row("memory", told, flat)
        self.row("descriptors", *self.descriptors())
        code = self.gate.stop()
        self.row("clean stop", f"exit code {code}", code == 0)
        panics = self.gate.log.read_text(errors="replace").count("panicked at")
        self.row("panics", panics, panics == 0)
        self.judge_log()

    def descriptors(self):
        """Back to what they were before the first client. Those to the merchant APIs end with the merchant APIs."""
        for upstream in self.place.upstreams.values():
            upstream.stop()
        deadline = time.monotonic() + PATIENCE
        while (now := self.gate.descriptors()) > self.baseline and time.monotonic() < deadline:
            self.control.stop.wait(0.2)
            self.control.stop.clear()
        # The log's segment is open since the first record; before that it may not have been.
        return f"{self.baseline} before, {now} after", now <= self.baseline + 1

    def judge_log(self):
        """The record, whole."""
        # Encrypted, so opened as an auditor does.
        log = Log(self.place.home / "audit", self.place.lines("audit", "tail", "--json", "-n", "1000000000"))
        findings = list(log.findings(self.tally))
        self.wrong += findings[:40]
        self.row("records", f"{len(log.calls)} calls in {len(log.segments)} segments; {len(self.tally.ids)} seen by clients, none "
                 f"may be lost; {len(log.intents)} intents", not findings)
        try:
            verified = self.place.command("audit", "verify").splitlines()[0]
            self.row("audit verify", verified, verified.startswith("intact"))
        except RuntimeError as error:
            self.row("audit verify", error, False)
        reloads = log.events["reloaded"], log.events["reload-refused"]
        self.row("reloads", f"{reloads[0]} taken over, {reloads[1]} refused", min(reloads) > 0)
        self.row("credential", f"{len(log.versions)} versions used", len(log.versions) > 1)
        rotated = len(log.segments) > 1
        self.row("rotation", f"{len(log.segments)} segments", rotated)
        provoked = sum(n for (kind, status), n in self.tally.replies.items() if status >= 500)
        self.row("5xx", f"{provoked} seen, each provoked; {len(log.server_errors)} on record")

    def row(self, name, told, holds=True):
        """A line of the table; what does not hold is wrong."""
        self.rows.append((name, str(told), holds))
        if not holds:
            self.wrong.append(f"{name}: {told}")

    def report(self):
        """The table, and what is wrong."""
        print("\nreplies by kind and status")
        for (kind, status), count in sorted(self.tally.replies.items()):
            print(f"  {kind:45} {status}  {count}")
        for what, count in sorted(self.tally.events.items()):
            print(f"  {what:45}      {count}")
        print("\nwhat was checked")
        for name, told, holds in self.rows:
            print(f"  {'ok   ' if holds else 'WRONG'} {name:16} {told}")
        for text in self.wrong:
            print(f"  wrong: {text}")


def main():
    """Runs, reports, keeps the evidence when there is need of it."""
    can_fail()
    soak = Soak(arguments())
    held = soak.run()
    soak.report()
    if held:
        shutil.rmtree(soak.folder)
        print(f"\nsoak: everything held, {soak.args.minutes:g} min")
        return 0
    (soak.folder / "wrong.json").write_text(json.dumps(soak.wrong, indent=1))
    print(f"\nsoak: {len(soak.wrong)} things did not hold; the evidence lies in {soak.folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
