"""The picture: small bar charts, one a figure, each with its own scale; shorter is better."""

from xml.sax.saxutils import escape

from .scenarios import LOAD
from .settings import PROXIES

NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy", "keygate": "Keygate"}
COLUMNS, PANEL_WIDTH, BAR, GAP, MARGIN = 3, 300, 18, 6, 20
LABEL_WIDTH, VALUE_WIDTH, TITLE = 62, 62, 34

STYLE = """text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.unit{fill:#57606a;font-size:11px}
.bar{fill:#8c959f}.own{fill:#0969da}.page{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.unit{fill:#9198a1}.bar{fill:#6e7681}.own{fill:#4493f8}
.page{fill:#0d1117}}"""


def render(summary):
    """The SVG as text."""
    panels = [(title, unit, values) for title, unit, values in _panels(summary) if values]
    height = TITLE + 16 + len(PROXIES) * (BAR + GAP) + MARGIN
    rows = -(-len(panels) // COLUMNS)
    width, total = COLUMNS * PANEL_WIDTH + MARGIN, rows * height + MARGIN
    body = [_panel(*panel, MARGIN + n % COLUMNS * PANEL_WIDTH, MARGIN + n // COLUMNS * height)
            for n, panel in enumerate(panels)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" '
            f'viewBox="0 0 {width} {total}" role="img" aria-label="Costs side by side; shorter is better">\n'
            f"<style>{STYLE}</style>\n<rect class=\"page\" width=\"{width}\" height=\"{total}\"/>\n"
            + "\n".join(body) + "\n</svg>\n")


def _panels(summary):
    """(title, unit, {proxy: value}) for each chart, in reading order."""
    def figures(scenario, key, scale=1.0):
        proxies = summary.get(scenario, {})
        return {name: proxies[name][key] / scale for name in PROXIES if key in proxies.get(name, {})}

    for scenario, title in LOAD.items():
        yield title, "CPU µs per request", figures(scenario, "cpu_us_per_request")
    yield "idle memory", "MiB, RSS", figures("idle", "rss_kib", 1024)
    yield "idle TLS connection", "KiB each", figures("connections", "kib_per_connection")
    yield "added latency, p50", "ms at 1,000 calls/s", figures("rate", "added_p50_us", 1000)
    yield "added latency, p99", "ms at 1,000 calls/s", figures("rate", "added_p99_us", 1000)


def _panel(title, unit, values, x, y):
    """One chart with its upper left corner at (x, y)."""
    room = PANEL_WIDTH - MARGIN - LABEL_WIDTH - VALUE_WIDTH
    largest = max(max(values.values()), 1e-9)
    out = [f'<g transform="translate({x} {y})"><text class="title" y="12">{escape(title)}</text>'
           f'<text class="unit" y="28">{escape(unit)}</text>']
    for n, (name, value) in enumerate(values.items()):
        top, length = TITLE + n * (BAR + GAP), max(1.0, room * max(value, 0) / largest)
        kind = "own" if name == "keygate" else "bar"
        out.append(f'<text y="{top + 14}">{NAMES[name]}</text><rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" '
                   f'width="{length:.1f}" height="{BAR}" rx="2"/>'
                   f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{top + 14}">{_number(value)}</text>')
    return "".join(out) + "</g>"


def _number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
