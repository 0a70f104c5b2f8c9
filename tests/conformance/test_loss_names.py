"""README's table of losses: every loss of dlcore stands there, under names that the other projects have."""

from __future__ import annotations

import re
from pathlib import Path

import optax
import pytest
import torch.nn.functional as F  # noqa: N812

from dlcore import losses
from tests.conformance.keras_layers import keras

README = Path(__file__).parents[2] / "README.md"
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in README.read_text().split("## The losses")[1].split("\n## ")[0].splitlines()
    if line.startswith("| `") and "`dlcore.losses`" not in line
]


def test_every_loss_has_one_row():
    named = [re.fullmatch(r"`(\w+)`", row[0]).group(1) for row in ROWS]
    assert sorted(named) == sorted(set(losses.__all__) - {"mean", "sum_and_weight"})


PROJECTS = {"Keras": (2, keras.losses), "PyTorch": (3, F), "Optax": (4, optax.losses)}


@pytest.mark.parametrize("project", PROJECTS)
def test_the_names_are_those_of_the_other_project(project):
    column, module = PROJECTS[project]
    names = [name for row in ROWS for name in re.findall(r"`(\w+)", row[column])]
    assert len(names) > 5
    assert [name for name in names if not hasattr(module, name)] == []
