"""The house: imports point one way, files are small, the plain package stays light."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dlcore

ROOT = Path(dlcore.__file__).parent
# Each floor may import those before it and itself, never one after it.
FLOORS = (
    (
        "_typing",
        "_bits",
        "_checks",
        "_log1p",
        "_norms",
        "_precision",
        "_random",
        "_rows",
        "_shift",
        "_tree",
        "_varying",
        "_windows",
    ),
    ("backprop",),
    ("kernels",),
    ("nn",),
    ("losses",),
    ("penalties",),
    ("models",),
    ("gradcheck",),
    ("diagnostics",),
    ("train",),
    ("data",),
    ("lab",),
    ("app",),
    ("cli",),
)
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
FILES = sorted(ROOT.rglob("*.py"))
# What the plain install does not bring, and `import dlcore.<floor>` must not want.
HEAVY = ("typer", "rich", "matplotlib", "safetensors", "sklearn", "flax", "torch", "keras", "pandas")


def floor_of(module):
    """The floor of a dotted name below dlcore; None for dlcore itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            # `from dlcore import nn` imports dlcore.nn
            yield from (
                f"{node.module}.{alias.name}" if node.module == "dlcore" else node.module for alias in node.names
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not [name for name in imports(path) if name.startswith("dlcore")], "dlcore itself imports nothing"
        return
    assert own in LEVEL, f"{own} stands on no floor: put it into FLOORS, in its place"
    for name in imports(path):
        floor = floor_of(name) if name.split(".")[0] == "dlcore" else None
        if floor and floor not in ("__version__",):
            assert floor in LEVEL, f"{name} stands on no floor"
            assert LEVEL[floor] <= LEVEL[own], f"{own} imports {name}, which stands below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_hold_one_idea(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "does it hold two ideas?"
    assert path.name != "utils.py"
    assert text.lstrip().startswith('"""'), "says what it is for"


@pytest.mark.parametrize("name", [info.name for info in pkgutil.walk_packages(dlcore.__path__, "dlcore.")])
def test_every_module_says_what_is_public(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None)
    if public is None:
        assert hasattr(module, "__path__"), "__all__ is missing"
        return
    assert len(set(public)) == len(public)
    assert all(hasattr(module, item) for item in public)


def test_the_equations_import_without_the_extras():
    code = (
        "import sys, dlcore, dlcore.nn, dlcore.losses, dlcore.penalties, dlcore.models, dlcore.train, dlcore.data, "
        f"dlcore.diagnostics, dlcore.lab; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_configured_by_importing():
    """No global state: importing dlcore changes no setting of JAX, and starts no device."""
    code = (
        "import jax; before = dict(jax.config.values); import dlcore.nn, dlcore.train, dlcore.models; "
        "from jax._src import xla_bridge; "
        "print(before == dict(jax.config.values), bool(xla_bridge._backends))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
