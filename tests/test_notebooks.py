"""Every page of notebooks/ runs from top to bottom, and what it says of another framework is so."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.tolerance import assert_close

PAGES = sorted((Path(__file__).parent.parent / "notebooks").glob("*.md"))


def executed(page):
    """The names that the page's code leaves behind."""
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(compile(block, page.name, "exec"), names)
    return names


def test_there_are_pages():
    assert [page.stem for page in PAGES] == ["coming_from_other_frameworks"]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_its_code_runs_and_prints_what_it_says(page, capsys):
    executed(page)
    said = re.findall(r"^print\(.*\)  # (.*)$", page.read_text(), re.M)
    assert capsys.readouterr().out.splitlines() == said
    assert said


def test_the_network_that_comes_from_pytorch_computes_what_pytorch_does():
    names = executed(PAGES[0])
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    )
    images = torch.randn(5, 1, 8, 8)
    net(images)  # moves the running statistics
    net.eval()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    params, state = names["from_weights"](weights)
    y = names["evaluate"](params, state, jnp.asarray(images.numpy()))
    assert_close(y, net(images).detach().numpy().astype(np.float64), length=64)


def test_every_name_that_a_table_gives_to_dlcore_is_there():
    from dlcore import losses, nn

    text = PAGES[0].read_text()
    names = set(re.findall(r"`(nn|losses)\.(\w+)`", text))
    assert len(names) > 40
    for module, name in names:
        assert hasattr({"nn": nn, "losses": losses}[module], name), name
    functions = {name for name in nn.__all__ if name.islower() and not name.endswith(("_init", "_cell"))}
    assert functions - {"initializers", "layouts"} - {name for _, name in names} == set()
