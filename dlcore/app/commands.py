"""The commands and their options."""

from __future__ import annotations

import json
import traceback
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import dlcore
from dlcore.app.config import MODELS, OPTIMIZERS, SCHEDULES, TrainConfig
from dlcore.app.errors import FailureError, UsageError
from dlcore.data.sets import NAMES

__all__ = ["app", "run"]

app = typer.Typer(
    name="dlcore",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}
WHAT, HOW, AGAINST, WHERE = "What to train", "How to train", "Against overfitting", "Output"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dlcore {dlcore.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Deep learning as mathematics writes it: train a network on real data, ask whether the compiler is right."""


@app.command()
def train(
    model: Annotated[str, typer.Option(help=f"The network: {' or '.join(MODELS)}.", rich_help_panel=WHAT)] = DEFAULT[
        "model"
    ],
    data: Annotated[str, typer.Option(help=f"The data: {', '.join(NAMES)}.", rich_help_panel=WHAT)] = DEFAULT["data"],
    layers: Annotated[
        str,
        typer.Option(
            help="Widths of the hidden layers (mlp, 128,128) or channels of the blocks (convnet, 32,64).",
            rich_help_panel=WHAT,
            show_default="by model",
        ),
    ] = "",
    epochs: Annotated[
        int, typer.Option(help="How often to go through the training data.", rich_help_panel=HOW)
    ] = DEFAULT["epochs"],
    batch_size: Annotated[int, typer.Option(help="How many examples make one step.", rich_help_panel=HOW)] = DEFAULT[
        "batch_size"
    ],
    optimizer: Annotated[
        str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)} (Optax').", rich_help_panel=HOW)
    ] = DEFAULT["optimizer"],
    learning_rate: Annotated[
        float, typer.Option(help="The size of a step; the first thing to change.", rich_help_panel=HOW)
    ] = DEFAULT["learning_rate"],
    schedule: Annotated[
        str,
        typer.Option(
            help=f"The learning rate over time: {' or '.join(SCHEDULES)} (cosine falls to 0).", rich_help_panel=HOW
        ),
    ] = DEFAULT["schedule"],
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same parameters, bit for bit.", rich_help_panel=HOW)
    ] = DEFAULT["seed"],
    dropout: Annotated[
        float, typer.Option(help="Probability of dropping a value before the last layer.", rich_help_panel=AGAINST)
    ] = DEFAULT["dropout"],
    input_dropout: Annotated[
        float, typer.Option(help="Probability of dropping an input.", rich_help_panel=AGAINST)
    ] = DEFAULT["input_dropout"],
    l2: Annotated[
        float, typer.Option(help="λ of the penalty λ Σ ω² on the kernels.", rich_help_panel=AGAINST)
    ] = DEFAULT["l2"],
    shift: Annotated[
        int, typer.Option(help="Move training images at random by up to so many pixels.", rich_help_panel=AGAINST)
    ] = DEFAULT["shift"],
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder; new or empty.", rich_help_panel=WHERE, show_default="runs/<time>-…"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=WHERE)
    ] = False,
    trust_compiler: Annotated[
        bool,
        typer.Option(
            "--trust-compiler", help="Train even if the compiler fails its self-tests.", rich_help_panel=WHERE
        ),
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an error.", rich_help_panel=WHERE)
    ] = False,
) -> None:
    """Train a network, and keep what one wants to look at: metrics, parameters, pictures.

    Without options: a convolutional network on 8 × 8 handwritten digits, in about a quarter of a minute.
    """
    from dlcore.app.training import run_training

    config = TrainConfig(
        model=model, data=data, layers=_widths(layers), epochs=epochs, batch_size=batch_size, optimizer=optimizer,
        learning_rate=learning_rate, schedule=schedule, dropout=dropout, input_dropout=input_dropout, l2=l2,
        shift=shift, seed=seed,
    )  # fmt: skip
    result = run_training(config, out, Console(stderr=True), trust_compiler=trust_compiler)
    if as_json:
        print(json.dumps(result))
    else:
        _print_result(result)


@app.command("lab")
def run_experiment(
    name: Annotated[str, typer.Argument(help="The experiment; none lists them.", show_default=False)] = "",
    out: Annotated[str, typer.Option(help="Where result.json and the picture go.", show_default="runs/lab-NAME")] = "",
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
) -> None:
    """Answer one of the notes' questions by an experiment: a table, a picture and a verdict."""
    from dlcore.app.experiments import experiment, listing

    if not name:
        print(listing())
        return
    folder = Path(out) if out else Path("runs") / f"lab-{name}"
    result = experiment(name, folder)
    print(result.question, result.table(), result.verdict, f"{folder}: result.json and the picture", sep="\n\n")


@app.command(
    "bench",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def bench(context: typer.Context) -> None:
    """Race dlcore against its peers: the same work, on the same arrays, in turns; `dlcore bench --help` says how."""
    try:
        command = import_module("benchmarks.suite.command")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "benchmarks":
            raise
        raise FailureError(
            "bench: the benchmarks are no part of the installed package. Run it in a clone of dlcore: make bench, or "
            "pip install -e '.[app,bench]' there."
        ) from error
    command.main(context.args)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
) -> None:
    """Show versions and devices, and test whether the compiler computes right numbers here.

    Exit status 0 if all is right, 1 if something is wrong; each wrong line says how to mend it. What is wrong in
    float64 alone is shown too, but changes nothing for training, which is in float32.
    """
    from dlcore.app.versions import versions
    from dlcore.diagnostics import check_compiler

    found, tests = versions(), check_compiler()
    if as_json:
        print(json.dumps({"versions": found, "tests": [test._asdict() for test in tests]}))
    else:
        console = Console()
        table = Table.grid(padding=(0, 3))
        for name, value in found.items():
            table.add_row(name, value)
        console.print(table, "")
        table = Table.grid(padding=(0, 3))
        for test in tests:
            wrong = "[yellow]wrong[/yellow]" if test.float64 else "[bold red]wrong[/bold red]"
            table.add_row("[green]ok[/green]" if test.ok else wrong, test.name, test.detail)
        console.print(table)
        for test in tests:
            if not test.ok:
                console.print(f"\n[bold]{test.name}[/bold]: {test.mend}")
    if any(not test.ok and not test.float64 for test in tests):
        raise typer.Exit(1)


@app.command()
def gradcheck(
    target: Annotated[str, typer.Argument(help="The function: package.module:function.", metavar="MODULE:FUNCTION")],
    values: Annotated[list[str] | None, typer.Argument(help="More arguments, as --args.", metavar="[ARGS]...")] = None,
    args: Annotated[
        list[str] | None,
        typer.Option(
            help="An argument of the function; again for each of them. float32[5,4]: random normal numbers; "
            "float32[3]=0: the same number everywhere; int32[5]<10: integers; key:7: a PRNG key; @x.npy or @x.npz: "
            'from a file; or a Python literal, in which such texts may stand: {"kernel": "float32[4,3]"}.',
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="A keyword option of the function: rate=0.5. Again for each of them.")
    ] = None,
    modes: Annotated[
        str, typer.Option(help="reverse, forward, or both with a comma between them.")
    ] = "reverse,forward",
    order: Annotated[int, typer.Option(help="2: Hessian-vector products too.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Draws the arguments and the directions.", min=0)] = 0,
    show_traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error.")] = False,
) -> None:
    """Prove the gradients of any JAX function against finite differences, in float64.

    dlcore gradcheck dlcore.nn:softmax --args float32[5,4]

    dlcore gradcheck my.module:loss --args '{"kernel": "float32[4,3]"}' --args float32[8,4]

    Exit status 0 if every gradient is proven, 1 if one is wrong or cannot be judged, 2 if the call makes no sense.
    """
    from dlcore.app.gradients import prove

    report = prove(target, [*(args or ()), *(values or ())], option or [], modes=modes, order=order, seed=seed)
    print(report)
    if not report.passed:
        raise typer.Exit(1)


def run(arguments: list[str]) -> int:
    """Runs the command and returns its exit status."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    wanted = "--traceback" in arguments
    try:
        status = app(arguments, standalone_mode=False)
    except typer.Abort:
        errors.print("Interrupted.")
        return 1
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return 1
    except Exception as error:
        if wanted:
            traceback.print_exc()
        return _report(errors, error, wanted)
    return status if isinstance(status, int) else 0


def _report(errors: Console, error: Exception, shown: bool) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # the parser's own: an unknown option, …
        message = error.format_message().rstrip(".")
        if message:  # without any argument the help has been printed already
            errors.print(f"dlcore: {message}. See dlcore --help.", markup=False)
        return int(error.exit_code)
    if isinstance(error, UsageError):
        errors.print(f"dlcore: {error}", markup=False)
        return 2
    if isinstance(error, FailureError):
        errors.print(f"dlcore: {error}", markup=False)
        return 1
    where = "".join(f" ({note})" for note in getattr(error, "__notes__", ()) if note.startswith("in layer"))
    hint = "" if shown else "; --traceback shows where."
    errors.print(f"dlcore: {type(error).__name__}: {error}{where}{hint}", markup=False)
    return 1


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--layers {text}: whole numbers with commas between them are expected: 32,64.") from None


def _print_result(result: dict[str, Any]) -> None:
    tested = sum(map(sum, result["confusion"]))
    right = sum(row[index] for index, row in enumerate(result["confusion"]))
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("test accuracy", f"[bold]{100 * result['test_accuracy']:.2f} %[/bold]   {right} of {tested} right")
    table.add_row("training accuracy", f"{100 * result['train_accuracy']:.2f} %")
    table.add_row("parameters", f"{result['parameters']:,}")
    table.add_row("compile time", f"{result['compile_seconds']:.1f} s")
    table.add_row(
        "training time",
        f"{result['train_seconds']:.1f} s   {result['epochs']} epochs, "
        f"{result['examples_per_second']:,.0f} examples a second",
    )
    table.add_row("run folder", result["folder"])
    table.add_row("", "metrics.jsonl  params.safetensors  config.json  result.json")
    table.add_row("", "  ".join(result["pictures"]))
    Console(soft_wrap=True).print(table)
