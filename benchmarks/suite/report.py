"""What the race says: a table, its summary, and a picture."""

from __future__ import annotations

import math
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.suite.row import DLCORE

__all__ = ["mean", "one_line", "peers_versions", "picture", "slug", "summary", "table"]

PEERS = ("flax", "equinox", "dm-haiku", "keras", "torch")


def peers_versions() -> dict[str, str]:
    """The peers' versions, and on how many threads PyTorch runs."""
    found = {}
    for name in PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    try:
        import torch

        found["torch threads"] = str(torch.get_num_threads())
    except ModuleNotFoundError:
        pass
    return found


def mean(ratios: list[float]) -> float:
    """The geometric one, as fits ratios: what is twice as fast and what is half as fast come to 1."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Geometric means over rows, and the rows where a peer is ahead."""
    found: dict[str, Any] = {"rows": len(lines)}
    for group in ("best", "jax", "torch"):
        ratios = [line[f"{group}_ratio"] for line in lines if f"{group}_ratio" in line]
        if ratios:
            found[f"geometric_mean_{group}"] = round(mean(ratios), 2)
    found["behind"] = [
        f"{line['name']} {line['shape']}: {line['best_ratio']} × {line['best_peer']}"
        for line in lines
        if line.get("best_ratio", 1.0) < 1.0
    ]
    found["more_memory"] = [
        f"{line['name']} {line['shape']}: {line['contestants'][DLCORE]['temporary_bytes']:,} bytes, "
        f"least {line['least_peer_bytes']:,}"
        for line in lines
        if line.get("memory_ratio", 1.0) < 1.0
    ]
    return found


def one_line(line: dict[str, Any]) -> str:
    """A row as it is measured."""
    ours = line["contestants"].get(DLCORE, {}).get("milliseconds", float("nan"))
    best = line.get("best_peer", "nobody")
    return f"{line['name']:<44} {line['shape']:<28} {ours:>9.4g} ms   {line.get('best_ratio', '–'):>6} × {best}"


def table(record: dict[str, Any]) -> str:
    """All rows in Markdown, and what they come to."""
    lines = [
        "", "| work | shape | dlcore | best JAX peer | PyTorch | memory | of the floor |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for line in record["rows"]:
        ours = line["contestants"].get(DLCORE)
        if ours is None:
            continue
        share = f"{100 * ours['share_of_floor']:.0f} %" if "share_of_floor" in ours else "–"
        lines.append(
            f"| {line['name']} | {line['shape']} | {ours['milliseconds']:.3g} ms | {_ratio(line, 'jax')} | "
            f"{_ratio(line, 'torch')} | {_memory(ours['temporary_bytes'])} | {share} |"
        )
    total = record["summary"]
    means = ", ".join(
        f"{total[f'geometric_mean_{group}']} × {title}"
        for group, title in (("jax", "the best JAX peer"), ("torch", "PyTorch"), ("best", "the best of all"))
        if f"geometric_mean_{group}" in total
    )
    lines += ["", f"Geometric means over {total['rows']} rows: {means or 'none'}.", ""]
    if total["behind"]:
        lines += ["A peer is ahead:", *_behind(record["rows"]), ""]
    lines += _remarks(record["rows"])
    absent = sorted({f"{who}: {why}" for line in record["rows"] for who, why in line.get("absent", {}).items()})
    if absent:
        lines += ["Not there:", *(f"- {row}" for row in absent), ""]
    return "\n".join(lines)


def _behind(lines: list[dict[str, Any]]) -> list[str]:
    """Rows in which a peer is ahead, and what bounds dlcore there: each reason once."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        if line.get("best_ratio", 1.0) < 1.0:
            row = f"{line['name']} {line['shape']} {line['best_ratio']:.2f} × {line['best_peer']}"
            reasons.setdefault(line.get("bound", ""), []).append(row)
    return [f"- {'; '.join(rows)}{f'. Bound: {reason}' if reason else ''}." for reason, rows in reasons.items()]


def _remarks(lines: list[dict[str, Any]]) -> list[str]:
    """What there is to say of contestants beside their times."""
    found = []
    for line in lines:
        told = [f"{name} {entry['remark']}" for name, entry in line["contestants"].items() if "remark" in entry]
        found += [f"{line['name'].capitalize()}: {'; '.join(told)}.", ""] if told else []
    return found


def slug(platform: str, device: str) -> str:
    """A name for files: the platform, and the device where it has a name of its own."""
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return platform if name in ("", platform) else f"{platform}_{name}"


def picture(record: dict[str, Any], path: Path) -> None:
    """The ratios, one point a peer; none where there is nothing to compare."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [line for line in record["rows"] if DLCORE in line["contestants"] and "best_ratio" in line]
    if not lines:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.24 * len(lines)), layout="constrained")
    names = sorted({name for line in lines for name in line["contestants"] if name != DLCORE})
    colours = dict(zip(names, pyplot.get_cmap("tab10")(range(10)).tolist() * 3, strict=False))
    for name in names:
        points = [
            (line["contestants"][name]["milliseconds"] / line["contestants"][DLCORE]["milliseconds"], place)
            for place, line in enumerate(lines)
            if name in line["contestants"]
        ]
        marker = "o" if not name.startswith("PyTorch") else "^"
        times, places = zip(*points, strict=True)
        axes.scatter(times, places, s=16, marker=marker, color=colours[name], label=name)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(lines)), [f"{line['name']}  {line['shape']}" for line in lines], fontsize=6)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("time divided by dlcore's: to the right of 1 a peer is slower")
    axes.legend(fontsize=6, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    axes.grid(axis="x", linewidth=0.3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _ratio(line: dict[str, Any], group: str) -> str:
    if f"{group}_ratio" not in line:
        return "–"
    ratio = line[f"{group}_ratio"]
    return f"{ratio:.2f} × {line[f'{group}_peer'].removeprefix('PyTorch').strip(', ') or 'eager'}"


def _memory(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.1f} MB"
