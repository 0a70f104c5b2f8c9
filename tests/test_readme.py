"""What the README says is so: its code runs, its messages are those that come, its tables are the stored results'."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from dlcore import losses

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_there_is_code_to_run():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_its_code_runs(number):
    assert len(BLOCKS[0].strip().splitlines()) <= 14
    done = run("-c", BLOCKS[number])
    assert done.returncode == 0, done.stderr


def without_rounding(text):
    """Numbers of the size of rounding differ between machines."""
    return re.sub(r"\d\.\de-(0[6-9]|1\d)", "small", text).strip()


@pytest.mark.parametrize(("code", "shown"), re.findall(r"```python\n([^`]*?)```\n\n```text\n(.*?)```", TEXT, re.S))
def test_its_code_prints_what_it_shows(code, shown):
    assert without_rounding(run("-c", code).stdout) == without_rounding(shown)


def test_the_model_that_it_trains_learns():
    done = run("-c", BLOCKS[1] + "\nprint(float(means['accuracy']))")
    assert float(done.stdout) > 0.8


def test_the_message_that_it_quotes_is_the_one_that_comes():
    with pytest.raises(ValueError, match="targets") as caught:
        losses.squared_error(jnp.ones(32), jnp.ones((32, 1)))
    assert " ".join(str(caught.value).split()) in " ".join(TEXT.split())


def test_its_measured_parts_are_in_step_with_the_stored_results():
    done = run("-m", "benchmarks.readme", "--check")
    assert done.returncode == 0, done.stderr


def test_nobody_is_told_to_install_another_project():
    for path in [ROOT / "README.md", *(ROOT / "dlcore").rglob("*.py"), ROOT / "Makefile"]:
        assert not re.search(r"pip install [^\n]*\bdlcore\b(?!-jax)", path.read_text()), path


def test_the_two_commands_stand_first():
    assert TEXT.index("make demo") < TEXT.index("make test") < TEXT.index("```python")
