"""Conventions are tests: every public function's signature and docstring, by inspection; its example, by running it."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import dlcore
from dlcore import backprop, data, diagnostics, lab, losses, models, nn, penalties, train

MODULES = {
    "nn": nn, "losses": losses, "penalties": penalties, "models": models, "train": train, "data": data, "lab": lab,
    "diagnostics": diagnostics, "backprop": backprop,
}  # fmt: skip
FORBIDDEN = {"rng", "training", "deterministic", "is_training", "eps", "lr", "alpha_", "dim"}
# Leading positional arguments come in this order; whatever follows is data.
ORDER = ("key", "params", "state")
# Optional arguments that may be positional, because their meaning is plain in a call.
POSITIONAL_OPTIONS = {("penalties.on", "pattern"), ("diagnostics.check_compiler", "jit")}
LIFTED = set(models.layers.__all__)


def public_functions():
    for module_name, module in MODULES.items():
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isfunction(item):
                yield pytest.param(f"{module_name}.{name}", item, id=f"{module_name}.{name}")


FUNCTIONS = list(public_functions())
every = pytest.mark.parametrize(("name", "function"), FUNCTIONS)


def test_there_is_something_to_inspect():
    assert len(FUNCTIONS) > 90


@every
def test_options_are_keyword_only_and_names_are_the_fields(name, function):
    parameters = inspect.signature(function).parameters.values()
    assert not {parameter.name for parameter in parameters} & FORBIDDEN
    for parameter in parameters:
        if parameter.default is not parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY:
            assert (name, parameter.name) in POSITIONAL_OPTIONS, f"{parameter.name} has a default: make it keyword-only"
        assert parameter.annotation is not parameter.empty, f"{parameter.name} has no type"
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize(
    ("name", "function"), [p for p in FUNCTIONS if p.id.startswith(("nn.", "losses.", "data.", "backprop."))]
)
def test_key_params_and_state_come_first_and_in_this_order(name, function):
    names = list(inspect.signature(function).parameters)
    leading = [item for item in names if item in ORDER]
    assert leading == sorted(leading, key=ORDER.index)
    assert names[: len(leading)] == leading


@every
def test_the_docstring_says_what_a_user_needs(name, function):
    text = inspect.getdoc(function) or ""
    first = text.splitlines()[0] if text else ""
    assert first.endswith((".", ":")), f"a first line that is a sentence, not {first!r}"
    module, _, short = name.partition(".")
    if module == "models" and short in LIFTED:
        assert f"`nn.{short}" in text or ">>>" in text, "names its equation in dlcore.nn, or shows itself"
        return
    wanted = ["Returns:", "Example:"]
    if inspect.signature(function).parameters:
        wanted += ["Args:"]
    if module != "diagnostics":
        wanted += ["Raises:"] if "-> None" not in str(inspect.signature(function)) else []
    if module in ("nn", "losses", "penalties", "backprop") or short in ("serial", "residual", "mlp", "convnet"):
        wanted += ["Source:"]
        if not short.endswith("_init"):
            # What a derivative does at a kink stands beside the function that it belongs to.
            wanted += ["Gradient:"] if not short.endswith("_bwd") else []
            if short != "on":
                assert re.search(r"^    .* = |^    .*\(.*\) = ", text, re.M), "an equation, indented"
    if short in ("save",):
        wanted.remove("Returns:")
    missing = [section for section in wanted if section not in text]
    assert not missing, f"the docstring lacks {missing}"
    assert ">>>" in text or "See `" in text, "an example that runs"


@every
def test_the_docstring_names_every_argument(name, function):
    module, _, short = name.partition(".")
    if module == "models" and short in LIFTED:
        return
    text = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^\s*\*{{0,2}}{parameter}(, \w+)*:|^\s*(\w+, )+{parameter}(, \w+)*:", text, re.M), parameter


def module_names():
    return [info.name for info in pkgutil.walk_packages(dlcore.__path__, "dlcore.")]


@pytest.mark.parametrize("name", module_names())
def test_examples_run(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_examples_are_found():
    finder = doctest.DocTestFinder()
    found = sum(len(test.examples) for name in module_names() for test in finder.find(importlib.import_module(name)))
    assert found > 200
