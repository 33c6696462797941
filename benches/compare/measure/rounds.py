"""The run: rounds over scenarios over proxies, so that what is compared was measured within the same minute."""

import os
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path

from . import checks, process, scenarios, tools, upstream
from .keygate import Keygate
from .peers import Peer
from .pki import Pki
from .settings import REAL_KEY, BenchError


class Direct:
    """The upstream itself, for what a proxy adds."""

    name = "direct"

    def __init__(self, pki, port):
        self.port, self.ca, self.scoped_key = port, pki.ca, REAL_KEY


def prepare(options, oha):
    """Checks the machine and installs or builds what the run needs; returns Keygate's binary or None."""
    if not {options.proxy_core, options.load_core} <= os.sched_getaffinity(0):
        raise BenchError("two cores are needed: one for the proxy, one for load and upstream")
    _raise_file_limit(options)
    tools.ensure(["nginx", "wrk", "ab", "h2load", "openssl", "taskset", *({"haproxy"} & set(options.proxies))])
    if "envoy" in options.proxies:
        tools.envoy()
    if "rate" in options.scenarios and not oha:
        print("oha is not installed, so the scenario `rate` is left out (--with-oha builds it)")
        options.scenarios = [name for name in options.scenarios if name != "rate"]
    if "keygate" in options.proxies:
        return options.keygate or (tools.build_keygate() if options.plain else tools.deployed_keygate())
    return None


def _raise_file_limit(options):
    """Both ends of the idle connections are ours, each within its own process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = options.idle_connections + 2000 if "connections" in options.scenarios else 1024
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(f"{needed} open files are needed, the hard limit is {hard} (`ulimit -Hn`)")
    soft = needed if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(options, oha):
    """Everything, from preparation to the results as one dictionary."""
    binary = prepare(options, oha)
    os.sched_setaffinity(0, {options.load_core})
    tools.target().mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-run-", dir=tools.target()))
    try:
        runs = _measure(options, oha, binary, folder)
    finally:
        process.stop_all()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return {"when": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(),
            "versions": tools.versions(options.proxies, binary),
            "settings": {"rounds": options.rounds, "seconds": options.seconds,
                         "idle_connections": options.idle_connections},
            "runs": runs}


def _measure(options, oha, binary, folder):
    pki = Pki(folder / "pki")
    direct = Direct(pki, options.port)
    serving = upstream.start(folder / "upstream", pki, direct.port, options.load_core)
    checks.replies(direct)
    proxies = [_proxy(name, n, options, binary, folder, pki) for n, name in enumerate(options.proxies)]
    bench = scenarios.Bench(options, direct, serving.pid, folder, oha)
    runs = []
    for number in range(options.rounds):
        for scenario in options.scenarios:
            for proxy in _order(number, scenario, direct, proxies):
                figures = bench.measure(scenario, proxy)
                runs.append({"round": number + 1, "scenario": scenario, "proxy": proxy.name,
                             "load_average": os.getloadavg()[0], **figures})
                _show(runs[-1])
    return runs


def _order(number, scenario, direct, proxies):
    """Each round begins with another proxy, so that none always comes first."""
    shift = number % len(proxies)
    turned = proxies[shift:] + proxies[:shift]
    return [direct, *turned] if scenario == "rate" else turned


def _proxy(name, number, options, binary, folder, pki):
    port = options.port + 1 + number
    if name == "keygate":
        return Keygate(binary, folder / name, pki, port, options.port, options.proxy_core)
    return Peer(name, folder / name, pki, port, options.port, options.proxy_core)


def _show(figures):
    keys = {"cpu_us_per_request": "CPU µs/request", "requests_per_second": "requests/s", "p50_us": "p50 µs",
            "p99_us": "p99 µs", "rss_kib": "RSS KiB", "kib_per_connection": "KiB/connection"}
    shown = "  ".join(f"{label} {figures[key]:,.1f}" for key, label in keys.items() if key in figures)
    noise = f"  (others {figures['others_share']:.0%}, {figures['load_others_share']:.0%}; tries {figures['tries']})" if "others_share" in figures else ""
    print(f"round {figures['round']}  {figures['scenario']:<12}{figures['proxy']:<9}{shown}{noise}", flush=True)


def machine():
    """Processor, cores, kernel and memory."""
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"
