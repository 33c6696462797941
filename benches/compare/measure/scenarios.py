"""The scenarios. Each starts the proxy afresh, warms it up, measures one window and returns a flat dictionary."""

import time

from . import checks, load, process
from .idle import IdleConnections
from .settings import (H1_CONNECTIONS, HANDSHAKES, LARGE_BYTES, LARGE_CONNECTIONS, LARGE_PATH, SMALL_BYTES, SMALL_PATH,
                       UPLOAD_BYTES, UPLOAD_CONNECTIONS, UPLOAD_PATH, BenchError)

SETTLE_SECONDS = 0.1
"""Between the load tool's end and the reading, so that log lines of the last calls are written and counted."""

QUIET_SECONDS = 8
"""For so long nothing comes before the memory of what is idle is read."""

DISTURBED, TRIES = 0.1, 3
"""A window in which anything else used more than this share of either core is measured again, this often in all."""

LOAD = {
    "h1": "HTTP/1.1, keep-alive, 1 KB",
    "h2": "HTTP/2, 8 × 8 streams, 1 KB",
    "new": "new TLS connection per request",
    "resumed": "resumed TLS connection per request",
    "large": "1 MB reply",
    "upload": "100 KB upload",
}
MEMORY = {"idle": "idle memory", "connections": "idle TLS connections"}
RATE = {"rate": "1,000 calls/s"}
ALL = (*LOAD, *MEMORY, *RATE)


class Bench:
    """What every scenario needs: the options, the upstream as if it were a proxy, a folder, and oha's path."""

    def __init__(self, options, direct, upstream_pid, folder, oha):
        self.options, self.direct, self.upstream_pid = options, direct, upstream_pid
        self.folder, self.oha = folder, oha

    def measure(self, scenario, proxy):
        """One scenario on one proxy."""
        self._wait_for_quiet()
        if proxy is self.direct:
            return self._rate(proxy)
        running = proxy.start()
        try:
            if scenario == "idle":
                return self._idle(proxy, running)
            if scenario == "connections":
                return self._connections(proxy, running)
            checks.thorough(proxy)
            run = self._rate if scenario == "rate" else lambda p: self._load(scenario, p, self.options.seconds)
            if scenario != "rate":
                self._load(scenario, proxy, self.options.warm_up)
            return self._window(running, lambda: run(proxy))
        finally:
            running.stop()

    def _load(self, scenario, proxy, seconds):
        core = self.options.load_core
        if scenario == "h2":
            return load.h2load(proxy, SMALL_PATH, seconds, core, self.folder, body_bytes=SMALL_BYTES)
        if scenario == "new":
            return load.ab(proxy, SMALL_PATH, seconds, core, self.folder, connections=HANDSHAKES,
                           body_bytes=SMALL_BYTES)
        path, shape = {
            "h1": (SMALL_PATH, {"connections": H1_CONNECTIONS, "body_bytes": SMALL_BYTES}),
            "resumed": (SMALL_PATH, {"connections": HANDSHAKES, "body_bytes": SMALL_BYTES,
                                     "headers": ["Connection: close"]}),
            "large": (LARGE_PATH, {"connections": LARGE_CONNECTIONS, "body_bytes": LARGE_BYTES}),
            "upload": (UPLOAD_PATH, {"connections": UPLOAD_CONNECTIONS, "body_bytes": SMALL_BYTES,
                                     "upload": UPLOAD_BYTES}),
        }[scenario]
        return load.wrk(proxy, path, seconds, core, **shape)

    def _rate(self, proxy):
        """Twice as long as the closed loops: percentiles at a low rate need calls."""
        seen = load.oha(self.oha, proxy, SMALL_PATH, 2 * self.options.seconds, self.options.load_core)
        if proxy is self.direct:
            return {"requests": seen.requests, "p50_us": seen.p50_us, "p99_us": seen.p99_us}
        return seen

    def _window(self, running, run):
        """Runs the load; again, up to `TRIES` times, while something else used a core. The quietest window counts.

        The choice looks at the disturbance alone, never at the result.
        """
        tries = []
        most = 1 if self.options.hurry else TRIES
        while len(tries) < most and (not tries or _disturbance(tries[-1]) > DISTURBED):
            if tries:
                self._wait_for_quiet()
            tries.append(self._once(running, run))
        return {**min(tries, key=_disturbance), "tries": len(tries)}

    def _wait_for_quiet(self):
        if not self.options.hurry:
            process.wait_for_quiet((self.options.proxy_core, self.options.load_core))

    def _once(self, running, run):
        """One window: the clocks of the proxy's tree, of the upstream and load tool, and of both cores around it."""
        before, began = self._clocks(running), time.monotonic()
        seen = run()
        time.sleep(SETTLE_SECONDS)
        lasted = (time.monotonic() - began) * 1e6
        used = {name: after - before[name] for name, after in self._clocks(running).items()}
        rss, pss = process.memory_kib(running.pid)
        return {
            "requests": seen.requests, "seconds": seen.seconds, "cpu_us": used["proxy"],
            "cpu_us_per_request": used["proxy"] / seen.requests, "softirq_us_per_request": used["softirq"] / seen.requests,
            "requests_per_second": seen.requests / seen.seconds, "p50_us": seen.p50_us, "p99_us": seen.p99_us,
            "rss_kib": rss, "pss_kib": pss, "core_share": used["proxy"] / (seen.seconds * 1e6),
            "others_share": max(0, used["core"] - used["proxy"] - used["softirq"]) / lasted,
            "load_others_share": max(0, used["load_core"] - used["load"]) / lasted,
            "stolen_share": used["stolen"] / lasted,
        }

    def _clocks(self, running):
        """CPU times so far, in microseconds."""
        core, stolen = process.core_us(self.options.proxy_core)
        load_core, _ = process.core_us(self.options.load_core)
        softirq = [process.softirq_thread(n) for n in (self.options.proxy_core, self.options.load_core)]
        softirq = [process.cpu_us(pid) if pid else 0 for pid in softirq]
        load = process.own_us() + process.cpu_us(self.upstream_pid) + softirq[1]
        return {"proxy": process.cpu_us(running.pid), "softirq": softirq[0], "core": core, "stolen": stolen,
                "load": load, "load_core": load_core}

    def _idle(self, proxy, running):
        """Memory of a proxy that has started, answered one call, and had nothing to do since."""
        checks.quick(proxy)
        time.sleep(QUIET_SECONDS)
        rss, pss = process.memory_kib(running.pid)
        return {"rss_kib": rss, "pss_kib": pss}

    def _connections(self, proxy, running):
        """Memory for each of many idle connections; a hundred are opened and closed first to fill the pools."""
        count = self.options.idle_connections
        with IdleConnections(proxy, min(100, count)):
            pass
        time.sleep(1)
        before, _ = process.memory_kib(running.pid)
        with IdleConnections(proxy, count) as connections:
            time.sleep(QUIET_SECONDS)
            opened, (after, _) = process.established(proxy.port), process.memory_kib(running.pid)
            if opened < count:
                raise BenchError(f"{proxy.name}: only {opened} of {count} idle connections are still open")
            connections.still_work()
        return {"connections": count, "rss_kib_before": before, "rss_kib_after": after,
                "kib_per_connection": (after - before) / count}


def _disturbance(window):
    return max(window["others_share"], window["load_others_share"])
