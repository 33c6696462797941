"""The results as Markdown, and their place in benches/README.md."""

from .scenarios import DISTURBED, LOAD, TRIES
from .settings import BASELINE, PROXIES, BenchError

BEGIN = "<!-- compare: begin, written by benches/compare/run -->"
END = "<!-- compare: end -->"
LABELS = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "keygate": "**Keygate**"}


def render(results, summary):
    """The whole block, without its markers."""
    settings = results["settings"]
    versions = " · ".join(f"{LABELS[name].strip('*')} {v}" for name, v in results["versions"].items() if name in LABELS)
    parts = [f"Measured {results['when']} on {results['machine']}; {settings['rounds']} rounds, "
             f"{settings['seconds']:g} s a window. {versions}.", _load(summary)]
    parts += [block(summary) for block in (_memory, _rate) if block(summary)]
    parts.append(_noise(results))
    return "\n\n".join(parts)


def insert(path, block):
    """Puts the block between the markers of a file."""
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BenchError(f"{path.name} must hold each of these lines once: {BEGIN} {END}")
    before, rest = text.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}")


def _rows(head, rows):
    words = 2 if head[1] == "proxy" else 1
    align = "| " + " | ".join(["---"] * words + ["---:"] * (len(head) - words)) + " |"
    return "\n".join(["| " + " | ".join(head) + " |", align, *("| " + " | ".join(row) + " |" for row in rows)])


def _named(proxies):
    return [(name, proxies[name]) for name in PROXIES if name in proxies]


def _load(summary):
    head = ["scenario", "proxy", "CPU µs/request", f"÷ {BASELINE}", "single rounds", "requests/s", "p50 ms", "p99 ms",
            "core used", "memory MiB"]
    rows = []
    for scenario, title in LOAD.items():
        for n, (name, f) in enumerate(_named(summary.get(scenario, {}))):
            rows.append([title if n == 0 else "", LABELS[name], f"{f['cpu_us_per_request']:,.1f}",
                         f"{f['ratio']:.2f}" if "ratio" in f else "–",
                         f"{f['ratio_low']:.2f}–{f['ratio_high']:.2f}" if "ratio" in f else "–",
                         f"{f['requests_per_second']:,.0f}", f"{f['p50_us'] / 1000:.2f}",
                         f"{f['p99_us'] / 1000:.2f}", f"{f['core_share']:.0%}", f"{f['rss_kib'] / 1024:.1f}"])
    return _rows(head, rows)


def _memory(summary):
    """RSS after the start with PSS beside it, and the growth for each idle connection."""
    idle, connections = summary.get("idle", {}), summary.get("connections", {})
    rows = []
    for name in PROXIES:
        if name in idle or name in connections:
            f, c = idle.get(name), connections.get(name)
            rows.append([LABELS[name], f"{f['rss_kib'] / 1024:.1f}" if f else "–",
                         f"{f['pss_kib'] / 1024:.1f}" if f else "–", f"{c['kib_per_connection']:.1f}" if c else "–"])
    count = next((int(c["connections"]) for c in connections.values()), 0)
    head = ["memory", "idle, RSS MiB", "idle, PSS MiB", f"KiB for each of {count:,} idle TLS connections"]
    return _rows(head, rows) if rows else ""


def _rate(summary):
    proxies = summary.get("rate", {})
    rows = [[LABELS[name], f"{f['cpu_us_per_request']:,.1f}", f"{f['added_p50_us'] / 1000:.2f}",
             f"{f['added_p99_us'] / 1000:.2f}"] for name, f in _named(proxies)]
    return _rows(["1,000 calls/s", "CPU µs/request", "added p50 ms", "added p99 ms"], rows) if rows else ""


def _noise(results):
    """How much anything else ran on the two cores."""
    windows = [run for run in results["runs"] if "others_share" in run]
    if not windows:
        return ""
    worst = {key: max(run[key] for run in windows) for key in ("others_share", "load_others_share", "stolen_share")}
    disturbed = sum(max(run["others_share"], run["load_others_share"]) > DISTURBED for run in windows)
    return (f"{disturbed} of {len(windows)} windows stayed disturbed after {TRIES} tries (something else used more than "
            f"{DISTURBED:.0%} of a core). At worst that was {worst['others_share']:.0%} of the proxy's core and "
            f"{worst['load_others_share']:.0%} of the load's; the hypervisor took {worst['stolen_share']:.0%}.")
