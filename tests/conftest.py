"""Strictness for every test: no silent promotion, no key used twice, no warning, no skip that nobody expects."""

import os
import zlib

# Several devices on one CPU, so that sharding is really tested; it must be said before JAX starts.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_default_matmul_precision", "float32")

# Tests that may be skipped, by the end of their node id, and why. Everything else that skips fails the run.
EXPECTED_SKIPS: dict[str, str] = {}


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="the base of every test's own seed")


def pytest_report_header(config):
    return f"dlcore: base seed {config.getoption('--seed')} (--seed), jax {jax.__version__}"


@pytest.fixture
def seed(request):
    """This test's own seed: the base seed and the test's name; shown where the test fails."""
    value = zlib.crc32(f"{request.config.getoption('--seed')} {request.node.nodeid}".encode())
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
