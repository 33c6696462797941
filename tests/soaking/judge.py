"""What must hold at the end: memory, descriptors, the log."""

import json
import statistics
from collections import Counter
from pathlib import Path

from tally import Tally

# Memory may grow by this much from the middle third of the watched time to the last, KiB or part of it, whichever is more.
# In 30 minutes at 300 calls/s these lie 150,000 calls apart: a leak of 10 bytes a call is over the bound (measured: none). What
# comes and goes within a minute, the log's tree, a vault that is opened, and reloads, moves a short run's medians by some MiB.
GROWTH_KIB, GROWTH_PART = 1536, 0.05
SHORT_KIB, SHORT = 4096, 60


def memory(samples):
    """Flat: the medians of the last two thirds of the samples, warm-up left out, differ by little. They are taken at rest;
    slow clients may hold something even then, and the median does not mind."""
    third = len(samples) // 3
    before, after = statistics.median(samples[third:2 * third]), statistics.median(samples[2 * third:])
    allowed = max(SHORT_KIB if len(samples) < SHORT else GROWTH_KIB, GROWTH_PART * before)
    told = f"{before / 1024:.1f} MiB, then {after / 1024:.1f} MiB (most {max(samples) / 1024:.1f}; {allowed / 1024:.1f} more allowed)"
    return after - before <= allowed, told


class Log:
    """The audit log, read once."""

    def __init__(self, directory, lines):
        self.segments = sorted(path for path in directory.glob("segment-*") if path.suffix in (".jsonl", ".sealed"))
        self.calls, self.intents, self.twice = {}, set(), 0
        self.server_errors, self.events, self.versions = [], Counter(), set()
        self.last = None
        for line in lines:
            self.take(json.loads(line))

    def take(self, record):
        """One record."""
        kind, key = record["kind"], bytes.fromhex(record["id"].replace("-", ""))
        self.last = record.get("event", {}).get("code")
        if kind == "intent":
            self.intents.add(key)
        elif kind == "gate":
            self.events[record["event"]["code"]] += 1
        elif kind == "call":
            self.twice += key in self.calls
            self.calls[key] = None
            if "credential" in record:
                self.versions.add(record["credential"][1])
            if record.get("status", 0) >= 500 or record.get("outcome") == "upstream-cut":
                self.server_errors.append((key, record))

    def findings(self, tally):
        """What is wrong with it, seen from what the driver saw."""
        lost = [key.hex() for key in tally.ids if key not in self.calls]
        if lost:
            yield f"{len(lost)} replies have no record: {lost[:5]}"
        if self.twice or tally.twice:
            yield f"{self.twice + len(tally.twice)} records came twice"
        if open_intents := [key.hex() for key in self.intents if key not in self.calls]:
            yield f"{len(open_intents)} intents have no outcome: {open_intents[:5]}"
        for key, record in self.server_errors:
            # `rough` asked for it and saw it, or saw a reply cut off; `aborter` was gone before it could see.
            seen = key in tally.ids or record.get("outcome") == "upstream-cut"
            provoked = record.get("integration") == "rough" and seen
            if not provoked and record.get("outcome") != "client-gone":
                yield f"an unexplained failure: {json.dumps(record)[:600]}"
        if self.last != "stopped":
            yield f"the log does not end with `stopped`: {self.last}"


def can_fail():
    """Shows that the checks find what they look for, before anybody trusts them."""
    assert memory([20_000 + n % 7 for n in range(300)])[0], "flat memory was taken for a leak"
    assert not memory([20_000 + 50 * n for n in range(300)])[0], "a leak was taken for flat memory"
    log, tally = Log(Path("/nowhere"), []), Tally()
    tally.ids.add(b"lost")
    log.intents.add(b"open")
    for name, integration in ((b"seen", "rough"), (b"unseen", "rough"), (b"shop", "shop")):
        log.take({"kind": "call", "id": name.hex(), "status": 502, "integration": integration})
    log.take({"kind": "call", "id": b"shop".hex(), "status": 200, "integration": "shop"})
    tally.ids.add(b"seen")
    found = " ".join(log.findings(tally))
    words = ("1 replies have no record", "1 records came twice", "1 intents have no outcome", b"unseen".hex(), "does not end")
    assert all(word in found for word in words) and b"seen".hex() + '"' not in found.replace(b"unseen".hex(), ""), found
