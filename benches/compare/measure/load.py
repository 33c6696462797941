"""The load tools: each function runs one and returns what was done and how long calls took."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .settings import H2_CONNECTIONS, H2_STREAMS, HERE, RATE_CONNECTIONS, RATE_PER_SECOND, BenchError


@dataclass
class Load:
    """What a load tool saw. Latencies in microseconds."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float


def _run(argv, core, what, seconds):
    argv = ["taskset", "-c", str(core), *map(str, argv)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{what} did not end") from error
    if done.returncode != 0:
        raise BenchError(f"{what} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _url(proxy, path):
    return f"https://localhost:{proxy.port}{path}"


def wrk(proxy, path, seconds, core, *, connections, body_bytes, headers=(), upload=None):
    """HTTP/1.1, closed loop. Fails on any status that is not 2xx or 3xx and on missing bytes."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", HERE / "load.lua",
            "-H", f"X-CE-KEY: {proxy.scoped_key}"]
    for header in headers:
        argv += ["-H", header]
    argv += [_url(proxy, path), "--", *(["PUT", upload] if upload else [])]
    out = _run(argv, core, f"wrk against {proxy.name}", seconds)
    seen = json.loads(re.search(r"^RESULT (.*)$", out, re.M)[1])
    if seen["requests"] == 0 or any(seen[kind] for kind in ("connect", "read", "write", "status", "timeout")):
        raise BenchError(f"{proxy.name}: wrk saw errors on {path}: {seen}")
    if seen["bytes"] < seen["requests"] * body_bytes:
        raise BenchError(f"{proxy.name}: replies on {path} are shorter than {body_bytes} bytes: {seen}")
    return Load(seen["requests"], seen["duration_us"] / 1e6, seen["p50_us"], seen["p99_us"])


def ab(proxy, path, seconds, core, folder, *, connections, body_bytes):
    """A new connection with a full TLS handshake for each request; wrk would resume its sessions."""
    table, most = Path(folder) / "ab.csv", int(seconds * 20_000)
    out = _run(["ab", "-q", "-t", f"{seconds:g}", "-n", most, "-c", connections, "-e", table,
                "-H", f"X-CE-KEY: {proxy.scoped_key}", _url(proxy, path)], core, f"ab against {proxy.name}", seconds)
    done, failed = (int(re.search(rf"^{label} requests:\s+(\d+)", out, re.M)[1]) for label in ("Complete", "Failed"))
    length = int(re.search(r"^Document Length:\s+(\d+)", out, re.M)[1])
    if not done or failed or "Non-2xx" in out or length != body_bytes:
        raise BenchError(f"{proxy.name}: ab saw errors on {path}:\n{out}")
    times = dict(line.split(",") for line in table.read_text().splitlines()[1:])
    table.unlink()
    lasted = float(re.search(r"^Time taken for tests:\s+([\d.]+)", out, re.M)[1])
    return Load(done, lasted, float(times["50"]) * 1000, float(times["99"]) * 1000)


def h2load(proxy, path, seconds, core, folder, *, body_bytes):
    """HTTP/2, closed loop; percentiles come from its log of single requests."""
    log = Path(folder) / "h2load.log"
    log.unlink(missing_ok=True)
    out = _run(["h2load", "-t1", f"-c{H2_CONNECTIONS}", f"-m{H2_STREAMS}", f"-D{seconds:g}", f"--log-file={log}",
                "-H", f"x-ce-key: {proxy.scoped_key}", _url(proxy, path)], core, f"h2load against {proxy.name}", seconds)
    if "Application protocol: h2" not in out:
        raise BenchError(f"{proxy.name}: HTTP/2 was not agreed:\n{out}")
    done, failed = map(int, re.search(r"(\d+) succeeded, (\d+) failed", out).groups())
    good, *bad = map(int, re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups())
    lasted = float(re.search(r"finished in ([\d.]+)s", out)[1])
    data = int(re.search(r"\((\d+)\) data", out)[1])
    if failed or any(bad) or not good or data < done * body_bytes:
        raise BenchError(f"{proxy.name}: h2load saw errors on {path}:\n{out}")
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    log.unlink()
    return Load(done, lasted, times[len(times) // 2], times[len(times) * 99 // 100])


def oha(binary, proxy, path, seconds, core):
    """A fixed number of calls a second; a late call counts from when it was due (no coordinated omission)."""
    argv = [binary, "--no-tui", "-z", f"{seconds:g}s", "-c", RATE_CONNECTIONS, "-q", RATE_PER_SECOND,
            "--latency-correction", "--cacert", proxy.ca, "--ipv4", "-H", f"X-CE-KEY: {proxy.scoped_key}",
            "--output-format", "json", _url(proxy, path)]
    seen = json.loads(_run(argv, core, f"oha against {proxy.name}", seconds))
    statuses, done = seen["statusCodeDistribution"], sum(seen["statusCodeDistribution"].values())
    # Calls still under way when the time is up are reported as "aborted due to deadline".
    errors = {text: n for text, n in seen["errorDistribution"].items() if "deadline" not in text}
    if set(statuses) != {"200"} or errors or done < 0.95 * RATE_PER_SECOND * seconds:
        raise BenchError(f"{proxy.name}: oha saw statuses {statuses} and errors {errors} in {seconds:g} s at "
                         f"{RATE_PER_SECOND} calls/s")
    latency = seen["latencyPercentiles"]
    return Load(done, seen["summary"]["total"], latency["p50"] * 1e6, latency["p99"] * 1e6)
