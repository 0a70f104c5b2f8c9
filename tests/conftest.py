"""Strictness for every test: no silent promotion, no key used twice, no warning, no skip that nobody expects."""

import os
import shutil
import zlib
from pathlib import Path

# Several devices on one CPU, so that sharding is really tested; it must be said before JAX starts.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

# Each load of compiled code says at length that two preferences of the compiler are no features of the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import jax
import numpy as np
import pytest

# Prints the table of tests/conformance, in the one process that prints.
pytest_plugins = ["tests.conformance.table"]

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_default_matmul_precision", "float32")

# Tests that may be skipped, by the end of their node id, and why. Everything else that skips fails the run.
EXPECTED_SKIPS: dict[str, str] = {}


# Of the tests marked slow, one in so many runs by default, or as `slow(one_in=…)` says; `--all` runs them all.
SLOW_SAMPLE = 20
# What begins first, since it takes minutes, and at the end nothing is left to run beside it.
LONGEST = "test_the_quick_suite_agrees_in_all_values"
LEFT_OUT = pytest.StashKey[int]()
# Beyond so many bytes a process forgets what it has compiled: a quarter of the machine's, since two run at once. Little
# of it comes back, so that near the limit every test compiles anew.
MEMORY = max(3 * 2**30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
# Beyond so many bytes a run begins by deleting what earlier ones have compiled.
DISK = 2 * 2**30


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="the base of every test's own seed, and of the slow sample")
    parser.addoption("--examples", type=int, default=2, help="how many cases a property draws for each test")
    parser.addoption("--all", action="store_true", help="every slow test, not a sample")


def pytest_configure(config):
    hypothesis.settings.register_profile(
        "dlcore",
        max_examples=config.getoption("--examples"),
        # Each example compiles: the first one takes long, and how long says nothing about the function.
        deadline=None,
        # Drawing a case is cheap, but "slow" counts the compilation as well; what is large is large on purpose.
        suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
        # Nothing is remembered from one run to the next, so that the seed alone says what is tried.
        database=None,
        # No "explain": after shrinking it would compile hundreds of cases more.
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
        print_blob=True,
    )
    hypothesis.settings.load_profile("dlcore")

    if getattr(config, "cache", None):  # pytest -p no:cacheprovider has none
        share_compiled_code(config)


def share_compiled_code(config):
    """What one process has compiled, the other one and the next run load: most of a run's time is the compiler's."""
    folder = Path(config.cache.mkdir("compiled"))
    if not hasattr(config, "workerinput") and sum(file.stat().st_size for file in folder.iterdir()) > DISK:
        shutil.rmtree(folder)
        folder.mkdir()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_report_header(config):
    return (
        f"dlcore: base seed {config.getoption('--seed')} (--seed), {config.getoption('--examples')} examples for each "
        f"property (--examples), {'all' if config.getoption('--all') else 'a sample'} of the slow tests "
        f"(--all), jax {jax.__version__}"
    )


def one_in(item):
    """One in how many like this test runs; of several marks the rarest counts."""
    return max((mark.kwargs.get("one_in", SLOW_SAMPLE) for mark in item.iter_markers("slow")), default=1)


def own_seed(config, nodeid):
    """A test's own seed: the base seed and the test's name."""
    return zlib.crc32(f"{config.getoption('--seed')} {nodeid}".encode())


def pytest_collection_modifyitems(config, items):
    """Leaves out all but a sample of the slow tests, unless they were asked for: one by one, or all."""
    items.sort(key=lambda item: item.name != LONGEST)
    if config.getoption("--all") or any("::" in arg for arg in config.args):
        return
    out = [item for item in items if own_seed(config, item.nodeid) % one_in(item) != 0]
    config.stash[LEFT_OUT] = len(out)
    if hasattr(config, "workeroutput"):
        config.workeroutput["slow_left_out"] = len(out)
    config.hook.pytest_deselected(items=out)
    left_out = set(out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """With pytest-xdist the workers collect, each of them the same tests, and the controller reports."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("slow_left_out", 0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """A property draws by the test's own seed."""
    function = getattr(item, "obj", None)
    if hypothesis.is_hypothesis_test(function):
        value = own_seed(item.config, item.nodeid)
        hypothesis.seed(value)(function)
        item.user_properties.append(("seed", value))


def pytest_runtest_teardown(item):
    """Compiled code of shapes that do not come again would fill the memory."""
    if resident() > MEMORY:
        jax.clear_caches()


def resident():
    """The memory that this process holds, in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.fixture
def seed(request):
    """This test's own seed; shown where the test fails."""
    value = own_seed(request.config, request.node.nodeid)
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)


@pytest.fixture
def key(seed):
    return jax.random.key(seed)


@pytest.fixture
def x64():
    """float64 inside the test, and nowhere else."""
    with jax.enable_x64(True):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for name, value in item.user_properties:
            report.sections.append(
                (f"{name} of this test", f"{value}   (base: --seed {item.config.getoption('--seed')})")
            )
    return report


def pytest_terminal_summary(terminalreporter):
    left_out = terminalreporter.config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.line(f"{left_out} slow tests were left out of this run; --all runs them, --seed draws others")
    skipped = [report.nodeid for report in terminalreporter.stats.get("skipped", [])]
    unexpected = [name for name in skipped if not any(name.endswith(end) for end in EXPECTED_SKIPS)]
    if unexpected:
        terminalreporter.section("skips that nobody expects")
        for name in unexpected:
            terminalreporter.line(name)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker process; the controller judges
        return
    skipped = [report.nodeid for report in reporter.stats.get("skipped", [])]
    if exitstatus == 0 and any(not any(name.endswith(end) for end in EXPECTED_SKIPS) for name in skipped):
        session.exitstatus = 1
