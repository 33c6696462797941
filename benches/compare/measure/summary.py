"""From single measurements to medians over the rounds and ratios to the baseline."""

from statistics import median

from .settings import BASELINE


def summarise(results):
    """{scenario: {proxy: {figure: median, "ratio": …, "ratio_low": …, "ratio_high": …}}}"""
    grouped = {}
    for run in results["runs"]:
        grouped.setdefault(run["scenario"], {}).setdefault(run["proxy"], []).append(run)
    summary = {scenario: {proxy: _medians(runs) for proxy, runs in proxies.items()}
               for scenario, proxies in grouped.items()}
    for scenario, proxies in grouped.items():
        _add_ratios(proxies, summary[scenario])
    if "rate" in summary:
        _add_latency(results["runs"], summary["rate"])
    return summary


def _medians(runs):
    """Median of every number."""
    return {key: median(run[key] for run in runs) for key, value in runs[0].items()
            if isinstance(value, (int, float)) and key != "round"}


def _add_ratios(grouped, summary):
    """CPU time over the baseline's: by the medians, and the lowest and highest of the single rounds.

    The baseline's own rounds are held against its median instead: the noise of one unchanged program.
    """
    if BASELINE not in grouped or "cpu_us_per_request" not in grouped[BASELINE][0]:
        return
    base = {run["round"]: run["cpu_us_per_request"] for run in grouped[BASELINE]}
    middle = summary[BASELINE]["cpu_us_per_request"]
    for name, runs in grouped.items():
        if "cpu_us_per_request" not in runs[0]:
            continue
        single = [run["cpu_us_per_request"] / (middle if name == BASELINE else base[run["round"]]) for run in runs]
        ratio = summary[name]["cpu_us_per_request"] / middle
        summary[name].update(ratio=ratio, ratio_low=min(single), ratio_high=max(single))


def _add_latency(runs, proxies):
    """What a proxy adds to the direct call of its own round, median over the rounds."""
    direct = {run["round"]: run for run in runs if run["scenario"] == "rate" and run["proxy"] == "direct"}
    for name, figures in proxies.items():
        own = [run for run in runs if run["scenario"] == "rate" and run["proxy"] == name]
        for key in ("p50_us", "p99_us"):
            figures[f"added_{key}"] = median(run[key] - direct[run["round"]][key] for run in own)
