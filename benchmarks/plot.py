"""plot.py RESULTS.json FOLDER: performance.png and performance.svg.

Runs in the peers' virtual environment, where matplotlib is, and so imports nothing of ours.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

OURS, LIMIT, OTHERS = "#2a6f97", "#8a8a8a", "#d3a266"


def colour(name):
    if name.startswith("pyfpm"):
        return OURS
    return LIMIT if name.startswith("C,") else OTHERS


def bars(axes, title, values, form):
    """Horizontal bars, the best on top, each with its number."""
    names = sorted(values, key=values.get, reverse="less is better" in title)
    numbers = [values[name] for name in names]
    drawn = axes.barh(names, numbers, color=[colour(name) for name in names])
    axes.bar_label(drawn, [form.format(number) for number in numbers], padding=3, fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.margins(x=0.15)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def panels(tables):
    """Title, name to number, and form of the number, for each panel that this run can fill."""
    figures = {name: table["figures"] for name, table in tables.items()}
    if "hello" in figures:
        medians = figures["hello"]["medians"]
        rates = {name: one["rate"] for name, one in medians.items()}
        yield "Hello: requests/s, 2 workers, 32 connections", rates, "{:,.0f}"
        used = {name: one["cpu_us"] for name, one in medians.items()}
        yield "Hello: CPU of the responder, µs a request (less is better)", used, "{:.1f}"
    if "django_page" in figures:
        medians = figures["django_page"]["medians"]
        rates = {name: one["rate"] for name, one in medians.items()}
        yield "A Django page: requests/s, 2 workers", rates, "{:,.0f}"
    if "memory" in figures:
        sizes = {
            f"{name}, {count} workers": one["per_worker_mib"]
            for name, by_size in figures["memory"]["pss"].items()
            for count, one in by_size.items()
        }
        yield "Django: memory a worker (PSS), MiB (less is better)", sizes, "{:.1f}"
    if "slow_clients" in figures:
        p99 = {
            name.replace(" | ", ": "): one["p99_ms"]
            for name, one in figures["slow_clients"]["medians"].items()
            if not name.endswith("beside slow")
        }
        yield (
            "p99 of fast requests, ms: alone, and ¼ of the workers blocked (less is better)",
            p99,
            "{:.1f}",
        )
    if "bodies" in figures:
        speeds = {
            name.replace(" | ", ": "): one["mb_per_s"]
            for name, one in figures["bodies"]["medians"].items()
            if not name.endswith("file")
        }
        yield "1 GiB, buffering off: MB/s", speeds, "{:,.0f}"


def main():
    results, folder = Path(sys.argv[1]), Path(sys.argv[2])
    document = json.loads(results.read_text())
    drawn = list(panels(document["tables"]))
    if not drawn:
        return
    rows = (len(drawn) + 1) // 2
    heights = [
        max(len(values) for _, values, _ in drawn[row * 2 : row * 2 + 2]) for row in range(rows)
    ]
    figure, grid = plt.subplots(
        rows,
        2,
        figsize=(13, 0.6 * rows + 0.27 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes, (title, values, form) in zip(grid.flat, drawn, strict=False):
        bars(axes, title, values, form)
    machine = document["machine"]
    figure.suptitle(
        f"{document['pyfpm']['pyfpm']}, {machine['cores']} cores of {machine['cpu']},"
        f" {machine['date'][:10]}",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    # The same figures give the same file, byte for byte.
    mpl.rcParams["svg.hashsalt"] = "pyfpm"
    figure.savefig(folder / "performance.png", dpi=110, metadata={"Software": None})
    figure.savefig(folder / "performance.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
