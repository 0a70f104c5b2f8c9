"""The main job: a network trained on real data, with everything kept that one wants to look at afterwards."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from dlcore import data, losses, nn, train
from dlcore._tree import count
from dlcore.app.config import TrainConfig, make_model, make_optimizer, make_training_step
from dlcore.app.errors import FailureError
from dlcore.app.progress import TrainingProgress
from dlcore.app.run_folder import RunFolder
from dlcore.app.versions import versions
from dlcore.diagnostics import check_compiler
from dlcore.models import Layer

__all__ = ["run_training"]

METRICS = (("loss", losses.softmax_cross_entropy), ("accuracy", train.accuracy))


def run_training(
    config: TrainConfig, out: Path | None, console: Console, *, trust_compiler: bool = False
) -> dict[str, Any]:
    """Trains as configured, fills the run's folder, and returns what result.json holds.

    Raises:
      UsageError: if the configuration cannot be run.
      FailureError: if the compiler computes wrong numbers, the loss diverges, a file cannot be written, or training was
        interrupted; the folder is readable all the same.
    """
    config = config.check()
    dataset = data.load(config.data)
    model = make_model(config, dataset)
    optimizer = make_optimizer(config, len(dataset.train[1]))
    if not trust_compiler:
        _refuse_wrong_compiler()
    folder = RunFolder(out or RunFolder.default(config))
    folder.write_config(config, versions())
    result: dict[str, Any] = {"status": "running", "folder": str(folder.path)}
    folder.write_result(result)
    try:
        with (
            _stop_signals(console) as stopping,
            TrainingProgress(console, epochs=config.epochs, batch_size=config.batch_size) as progress,
        ):
            result |= _train(config, dataset, model, optimizer, folder, progress, stopping)
        if stopping.is_set():
            result["status"] = "interrupted"
            raise FailureError(
                f"Interrupted after {result.get('epochs', 0)} of {config.epochs} epochs. "
                f"What there is stands in {folder.path}."
            )
        result["status"] = "done"
        return result
    except train.DivergedError as error:
        result |= {"status": "failed", "error": str(error)}
        raise FailureError(
            f"The loss became {error.value} at step {error.step}: lower --learning-rate. "
            f"Metrics and parameters up to the epoch before stand in {folder.path}."
        ) from error
    except BaseException as error:
        if result["status"] == "running":
            result |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        folder.write_result(result)


def _train(
    config: TrainConfig,
    dataset: data.DataSet,
    model: Layer,
    optimizer: Any,
    folder: RunFolder,
    progress: TrainingProgress,
    stopping: threading.Event,
) -> dict[str, Any]:
    progress.say("compiling")
    start = time.perf_counter()
    shift = partial(data.random_shift, pixels=config.shift) if dataset.image and config.shift else None
    epoch: Any = train.make_epoch(
        make_training_step(config, model, optimizer), batch_size=config.batch_size, augment=shift
    )
    state = train.make_state(jax.random.key(config.seed), model, optimizer, dataset.train[0][: config.batch_size])
    parameters = count(state.params)
    compiled = epoch.lower(state, dataset.train).compile()
    on_device = jax.device_put({"train": dataset.train, "test": dataset.test})

    def evaluate(state: train.TrainState) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part, examples in on_device.items():
            means = train.evaluate(model, state.params, state.model_state, examples, metrics=dict(METRICS))
            found |= {f"{part}_{label}": value for label, value in means.items()}
        return found

    jax.block_until_ready(evaluate(state))
    result: dict[str, Any] = {"parameters": parameters, "compile_seconds": time.perf_counter() - start, "epochs": 0}
    if stopping.is_set():
        return result

    def report(line: train.Report, state: train.TrainState) -> None:
        folder.append_metrics({"epoch": line.epoch, "step": line.step, "seconds": line.seconds, **line.metrics})
        folder.save_params(state.params, state.model_state)
        progress.show(line)

    start = time.perf_counter()
    state, history = train.fit(
        compiled, state, dataset.train, epochs=config.epochs, evaluate=evaluate, report=report, stop=stopping.is_set
    )
    last = history[-1]
    result |= {
        "epochs": last.epoch,
        "train_seconds": time.perf_counter() - start,
        "examples_per_second": config.batch_size * last.step / sum(line.seconds for line in history),
        **last.metrics,
    }
    if len(history) < config.epochs:
        stopping.set()
    progress.say("drawing")
    return result | _look(dataset, model, state, folder)


def _look(dataset: data.DataSet, model: Layer, state: train.TrainState, folder: RunFolder) -> dict[str, Any]:
    """Draws the pictures, and returns the confusion matrix in figures."""
    from dlcore.app import pictures  # matplotlib takes half a second to import

    inputs, labels = dataset.test
    logits = train.predict(model, state.params, state.model_state, jax.device_put(inputs))
    probabilities = np.asarray(nn.softmax(logits))
    predicted = probabilities.argmax(axis=-1)
    counts = pictures.confusion(labels, predicted, len(dataset.classes))
    drawn = ["learning_curves.png", "confusion_matrix.png"]
    pictures.learning_curves(folder.path / drawn[0], folder.read_metrics())
    pictures.confusion_matrix(folder.path / drawn[1], counts, dataset.classes)
    if dataset.image:
        drawn += ["mistakes.png", "kernels.png"]
        pictures.mistakes(folder.path / drawn[2], inputs, labels, probabilities, dataset.classes)
        first = next(leaves["kernel"] for leaves in state.params.values() if "kernel" in leaves)
        pictures.first_kernels(folder.path / drawn[3], np.asarray(first), inputs.shape[1:3])
    wrong = [
        {
            "test_example": int(index),
            "is": dataset.classes[labels[index]],
            "taken_for": dataset.classes[predicted[index]],
            "probability": round(float(probabilities[index, predicted[index]]), 4),
        }
        for index in pictures.surest_mistakes(labels, probabilities)
    ]
    return {"pictures": drawn, "confusion": counts.tolist(), "mistakes": wrong}


def _refuse_wrong_compiler() -> None:
    wrong = [test for test in check_compiler() if not test.ok and not test.float64]
    if wrong:
        found = "\n".join(f"  {test.name}: {test.detail}. {test.mend}" for test in wrong)
        raise FailureError(
            f"The compiler on this machine computes wrong numbers:\n{found}\n"
            "`dlcore doctor` shows all tests; --trust-compiler trains all the same."
        )


@contextmanager
def _stop_signals(console: Console) -> Iterator[threading.Event]:
    """A flag that ctrl-C or a termination signal sets; a second one ends the process at once."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def handle(number: int, frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        console.print("Stopping after this epoch; again to stop at once.")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
