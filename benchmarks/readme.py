"""Writes the measured parts of README.md from benchmarks/results; `--check` only says whether they are in step.

    python -m benchmarks.readme [--check]

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`, NAME being a function below.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.suite.report import mean, table
from benchmarks.suite.row import DLCORE
from benchmarks.timing import RESULTS
from dlcore.data import load

README = Path(__file__).parent.parent / "README.md"
SHADES = " ░▒▓█"
BARS = "▁▂▃▄▅▆▇█"


def stored(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def demo() -> str:
    """What `make demo` prints, and its pictures in characters."""
    record = stored("digits")
    rows, first = record["rows"], record["rows"]["runs"][0]
    curve = rows["test_accuracy_by_epoch_seed_0"]
    tested = sum(map(sum, first["confusion"]))
    lines = [
        "```text",
        "$ make demo",
        f"test accuracy       {100 * first['test_accuracy']:.2f} %   "
        f"{round(first['test_accuracy'] * tested)} of {tested} right",
        f"training accuracy   {100 * first['train_accuracy']:.2f} %",
        f"parameters          {first['parameters']:,}",
        f"compile time        {first['compile_seconds']:.1f} s",
        f"training time       {first['train_seconds']:.1f} s   {first['epochs']} epochs, "
        f"{first['examples_per_second']:,.0f} examples a second",
        "run folder          runs/…-digits-convnet-seed0",
        "                    metrics.jsonl  params.safetensors  config.json  result.json",
        "                    " + "  ".join(first["pictures"]),
        "",
        "learning_curves.png   test accuracy by epoch; ▁ is 90 % or less, █ is 100 %",
        "  " + _sparkline(curve),
        "",
        f"mistakes.png          the surest of the {len(first['mistakes'])} digits it got wrong",
        *_digits(first["mistakes"][:5]),
        "```",
    ]
    accuracies = ", ".join(f"{100 * run['test_accuracy']:.2f}" for run in rows["runs"])
    on = record["measured_with"]
    lines += [
        "",
        f"Five seeds: {accuracies} %, **median {100 * rows['median_test_accuracy']:.2f} %**; the whole command takes "
        f"{rows['median_command_seconds']:.0f} s (median), compilation included, on {on['cores']} CPU cores with jax "
        f"{on['jax']}. On the same split, SVC(γ = .001) reaches 96.9 % and logistic regression 93.4 %.",
    ]
    return "\n".join(lines)


def kernels() -> str:
    """Convolution alone and in a loop, where XLA's own gradient is a scalar loop."""
    lines = ["| forward and backward, CPU | plain XLA | dlcore | ratio |", "| --- | ---: | ---: | ---: |"]
    for row in stored("convolution")["rows"]:
        for place, ratio in row["ratio"].items():
            plain, ours = (row["milliseconds a step"][f"{name}, {place}"]["median"] for name in ("lax", "dlcore"))
            lines.append(f"| convolution {_by(row['window'])}, x {_by(row['x'])} → {row['features']}, {place} "
                         f"| {plain:.2f} ms | {ours:.2f} ms | {ratio:.1f} × |")  # fmt: skip
    return "\n".join(lines)


def suite() -> str:
    """The race, as stored for the CPU: its table, and what it comes to."""
    record = stored("suite_cpu")
    on = record["measured_with"]
    versions = ", ".join(f"{name} {on[name]}" for name in ("jax", "flax", "equinox", "dm-haiku", "keras", "torch"))
    # Without the line on who was not there, which JSON has.
    text = table(record).split("Not there:")[0]
    return f"{text.strip()}\n\nMeasured on {on['cores']} CPU cores, float32, with {versions}."


def drawn() -> str:
    """The race at shapes that were drawn, a line for each kind of layer."""
    if not (RESULTS / "drawn_cpu.json").exists():
        return "Not measured yet."
    record = stored("drawn_cpu")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in record["rows"]:
        kinds.setdefault(row["file"], []).append(row)
    lines = [
        "| layer | the best JAX peer | least of all shapes | PyTorch | least of all shapes |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]

    def cells(rows: list[dict[str, Any]], group: str) -> str:
        ratios = [(row[f"{group}_ratio"], row["shape"]) for row in rows if f"{group}_ratio" in row]
        if not ratios:
            return "– | –"
        least, shape = min(ratios)
        return f"{mean([ratio for ratio, _ in ratios]):.2f} × | {least:.2f} × at {shape}"

    lines += [f"| {kind} | {cells(rows, 'jax')} | {cells(rows, 'torch')} |" for kind, rows in kinds.items()]
    found = record["summary"]
    lines += [
        "",
        f"{record['drawn']} shapes a layer, seed {record['seed']}. Geometric means over {found['rows']} rows: "
        f"{found['geometric_mean_jax']} × the best JAX peer, {found['geometric_mean_torch']} × PyTorch.",
    ]
    return "\n".join(lines)


def sweeps() -> str:
    """How the cost grows, as stored for the CPU."""
    if not (RESULTS / "sweeps_cpu.json").exists():
        return "Not measured yet."
    lines = [
        "| work | n | dlcore, ms | grows as | a JAX peer | PyTorch |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for sweep in stored("sweeps_cpu")["sweeps"]:
        found = {name: f"n^{each['exponent']:.2f}" for name, each in sweep["contestants"].items()}
        ends = [f"{sweep['contestants'][DLCORE]['milliseconds'][place]:.3g}" for place in (0, -1)]
        jax = next((f"{power}, {name}" for name, power in found.items() if name not in (DLCORE, "PyTorch")), "")
        sizes = sweep["sizes"]
        lines.append(f"| {sweep['work']} | {sizes[0]:,} – {sizes[-1]:,} {sweep['unit']} | {' – '.join(ends)} | "
                     f"{found[DLCORE]} | {jax} | {found.get('PyTorch', '')} |")  # fmt: skip
    lines += ["", "![Time over size, nine panels, with the fitted lines](benchmarks/results/sweeps_cpu.png)"]
    return "\n".join(lines)


# Rows of the table of right functions, and how the groups begin that each takes together.
RIGHT = {
    "smooth, inputs of 1e-6 to 1e6": ("inputs of",),
    "cancellation, mixed scales, saturation, offsets, oscillation": (
        "mean ≫", "1e-6 to 1e6", "saturated", "offset", "fast", "float32",
    ),
    "zero and constant derivatives, minima": ("constant", "at a minimum"),
    "matrices, pytrees, integers, keys, empty arrays, branches": ("linear alg", "pytrees", "empty", "gather"),
    "at a kink": ("at a kink",),
    "1e-3, 1e-6 and 1e-9 from a kink": ("1e-3 from", "1e-6 from", "1e-9 from"),
    "near the end of the domain": ("near the end",),
}  # fmt: skip


def gradcheck() -> str:
    """Planted errors found, and right functions rejected, by each checker."""
    rows = stored("gradcheck")["rows"]
    checkers = ("dlcore", "jax float32", "jax float64", "torch")

    def line(name: str, parts: list[dict[str, Any]], counted: str) -> str:
        total = sum(part["count"] for part in parts)
        shares = [f"{sum(part[counted][checker] for part in parts)} / {total}" for checker in checkers]
        return " | ".join([f"| {name}", *shares]) + " |"

    def head(what: str) -> list[str]:
        return [f"| {what} | dlcore | JAX, float32 | JAX, float64 | PyTorch |", "| --- | ---: | ---: | ---: | ---: |"]

    groups = {
        name: [row for row in rows["correct"] if row["group"].startswith(starts)] for name, starts in RIGHT.items()
    }
    assert sum(map(len, groups.values())) == len(rows["correct"]), "a group stands in no row, or in two"
    cannot = ", ".join(f"{checker} {len(rows['cannot run'][checker])}" for checker in checkers)
    times = ", ".join(f"{checker} {rows['seconds'][checker]:.0f} s" for checker in checkers)
    lines = [
        *head("planted errors found"),
        *(line(row["kind"], [row], "found") for row in rows["planted"]),
        line("**all**", rows["planted"], "found"),
        line("of which the right form is not rejected", rows["planted"], "told apart"),
        "",
        *head("right functions rejected"),
        *(line(name, parts, "alarms") for name, parts in groups.items()),
        line("**all**", rows["correct"], "alarms"),
        "",
        "JAX is `jax.test_util.check_grads`, PyTorch `torch.autograd.gradcheck` "
        f"{rows['torch'].split('+')[0]}, each with its defaults. dlcore leaves {len(rows['inconclusive'])} open as "
        f"inconclusive. Not able to run: {cannot}. Time for all: {times}.",
    ]
    return "\n".join(lines)


def wavenet() -> str:
    """What a generated sample costs, by depth."""
    rows = stored("wavenet_generation")["rows"]

    def time(row: dict[str, Any], form: str) -> str:
        series = row["microseconds_a_step"].get(form)
        return f"{series['median']:,.0f} µs" if series else ""

    lines = [
        "| WaveNet, stacks × layers | receptive field | a sample, cached | whole network anew | samples a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows["rows"]:
        if row["batch"] == 1:
            each = row["layers"] // row["stacks"]
            lines.append(
                f"| {row['stacks']} × {each} | {row['receptive_field']:,} | {time(row, 'cached')} | "
                f"{time(row, 'naive')} | {row['cached_samples_per_second']:,} |"
            )
    exponents = rows["exponents"]
    cached, anew = (exponents[f"{form}, over the receptive field of one stack"] for form in ("cached", "naive"))
    lines += [
        "",
        f"The cost of a cached sample grows with the layers to the power of {exponents['cached, over layers']:.2f}; "
        f"over the receptive field of one stack, to the power of {cached:.2f}, and of the naive one {anew:.2f}.",
    ]
    return "\n".join(lines)


def heads() -> str:
    """The linear head fused with its loss, beside the two functions one after the other."""
    lines = [
        "| linear head and loss, forward and backward, CPU | plain | fused | time | temporary memory |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in stored("linear_softmax")["rows"]["rows"]:
        plain, fused = (row["milliseconds"][name]["median"] for name in ("plain", "dlcore"))
        memory = " → ".join(f"{row['temporary_bytes'][name] / 1e6:,.0f}" for name in ("plain", "dlcore"))
        lines.append(
            f"| {_by(row['shape'])} classes | {plain:.0f} ms | {fused:.0f} ms | "
            f"{row['time_ratio']:.2f} × | {memory} MB |"
        )
    return "\n".join(lines)


PARTS = {
    "demo": demo, "drawn": drawn, "gradcheck": gradcheck, "heads": heads, "kernels": kernels, "suite": suite,
    "sweeps": sweeps, "wavenet": wavenet,
}  # fmt: skip


def _by(sizes: list[int]) -> str:
    return " × ".join(map(str, sizes))


def _sparkline(values: list[float]) -> str:
    heights = (min(max((value - 0.9) / 0.1, 0.0), 1.0) for value in values)
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights)


def _digits(wrong: list[dict[str, Any]]) -> list[str]:
    images, labels = load("digits").test
    pictures = []
    for mistake in wrong:
        index = mistake["test_example"]
        assert str(labels[index]) == mistake["is"], "the stored results are of other data"
        rows = ["".join(SHADES[round(4 * float(v))] * 2 for v in line) for line in images[index, :, :, 0]]
        caption = f"{mistake['is']} taken for {mistake['taken_for']}"
        pictures.append([*rows, caption.ljust(16), f"{100 * mistake['probability']:.0f} %".ljust(16)])
    return ["  " + "   ".join(lines).rstrip() for lines in zip(*pictures, strict=True)]


def render(text: str) -> str:
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.S)
        places = pattern.findall(text)
        assert len(places) == 1, f"README.md has {len(places)} places for '{name}'"
        opening, closing = places[0]
        written = f"{opening}{part()}\n{closing}"
        start, end = text.index(opening), text.index(closing) + len(closing)
        text = text[:start] + written + text[end:]
    return text


def main() -> None:
    before = README.read_text()
    after = render(before)
    if "--check" in sys.argv:
        sys.exit(
            after != before and "README.md is out of step with benchmarks/results: run python -m benchmarks.readme"
        )
    README.write_text(after)


if __name__ == "__main__":
    main()
