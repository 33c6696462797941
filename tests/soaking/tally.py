"""What the driver saw: replies by kind and status, every record id, and whatever it did not expect."""

import threading
from collections import Counter

KEPT = 60


class Tally:
    """Shared by all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.replies = Counter()
        self.events = Counter()
        self.ids = set()
        self.twice = []
        self.problems = []
        self.problem_count = 0

    def reply(self, kind, status, record, expected):
        """A reply whose head came; `expected` are the statuses that this kind may have."""
        with self.lock:
            self.replies[kind, status] += 1
            if record:
                key = bytes.fromhex(record.replace("-", ""))
                if key in self.ids:
                    self.twice.append(record)
                self.ids.add(key)
        if status not in expected:
            self.problem(f"{kind}: status {status}, expected {sorted(expected)} (record {record})")
        elif not record:
            self.problem(f"{kind}: a reply with status {status} carries no record")

    def event(self, what):
        """Something that is counted and has no reply."""
        with self.lock:
            self.events[what] += 1

    def problem(self, text):
        """Something that must not be."""
        with self.lock:
            self.problem_count += 1
            if len(self.problems) < KEPT:
                self.problems.append(text)

    def total(self):
        """Replies so far."""
        with self.lock:
            return sum(self.replies.values())
