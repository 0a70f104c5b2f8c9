"""Live progress on a terminal; nothing where there is none."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dlcore.train import Report

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """One line that says what is being done, then epoch, loss, accuracies, examples a second and time left."""

    def __init__(self, console: Console, *, epochs: int, batch_size: int) -> None:
        self.batch_size = batch_size
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bars.add_task("starting", total=epochs, figures="")

    def __enter__(self) -> TrainingProgress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def say(self, what: str) -> None:
        """Says what is going on before the first epoch."""
        self.bars.update(self.task, description=what)

    def show(self, report: Report) -> None:
        """Shows an epoch's figures."""
        m = report.metrics
        self.bars.update(
            self.task,
            completed=report.epoch,
            description=f"epoch {report.epoch}/{report.epochs}",
            figures=(
                f"loss {m['loss']:.4f}  training {100 * m['train_accuracy']:.2f} %  "
                f"test [bold]{100 * m['test_accuracy']:.2f} %[/bold]  "
                f"{report.steps_per_second * self.batch_size:,.0f} examples/s"
            ),
        )
