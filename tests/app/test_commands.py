"""The command line, run as people run it: as a process."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dlcore.app import commands
from dlcore.data import load
from dlcore.diagnostics import SelfTest
from dlcore.models import convnet
from dlcore.train import accuracy, evaluate, restore

COMMAND = [sys.executable, "-c", "from dlcore.cli import main; main()"]
SMALL = ["train", "--layers", "4,4", "--epochs", "2", "--batch-size", "64"]


def dlcore(*arguments, **options):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run with --json, its folder and its output."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    return folder, dlcore(*SMALL, "--out", folder, "--json")


def test_a_run_leaves_everything_that_one_wants_to_look_at(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((folder / "result.json").read_text())
    assert result["status"] == "done"
    assert result["epochs"] == 2
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"], config["layers"], config["seed"]) == ("convnet", [4, 4], 0)
    assert config["versions"]["jax"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[-1]["test_accuracy"] == result["test_accuracy"]
    for name in ("learning_curves.png", "confusion_matrix.png", "mistakes.png", "kernels.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name


def test_it_is_quiet_where_there_is_no_terminal(finished):
    assert finished[1].stderr == ""
    assert len(finished[1].stdout.splitlines()) == 1


def test_the_saved_parameters_are_those_that_were_measured(finished, key):
    folder, done = finished
    model, digits = convnet(10, channels=(4, 4)), load("digits")
    params, state = model.init(key, digits.test[0][:1])
    saved = restore(folder / "params.safetensors", like={"params": params, "model_state": state})
    means = evaluate(model, saved["params"], saved["model_state"], digits.test, metrics={"accuracy": accuracy})
    result = json.loads(done.stdout)
    assert float(means["accuracy"]) == pytest.approx(result["test_accuracy"], abs=1e-6)
    counts = np.array(result["confusion"])
    assert np.trace(counts) / counts.sum() == pytest.approx(result["test_accuracy"], abs=1e-6)
    assert counts.sum(axis=1).tolist() == np.bincount(digits.test[1]).tolist()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(finished, tmp_path):
    first = (finished[0] / "params.safetensors").read_bytes()
    for name, seed in (("again", 0), ("other", 1)):
        done = dlcore(*SMALL, "--seed", seed, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "test accuracy" in done.stdout
        assert ((tmp_path / name / "params.safetensors").read_bytes() == first) == (seed == 0)


def test_interrupted_it_says_so_and_leaves_a_readable_folder(tmp_path):
    folder = tmp_path / "run"
    arguments = ["train", "--model", "mlp", "--layers", "8", "--epochs", "100000", "--out", folder]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted after" in errors
    assert "Traceback" not in errors
    result = json.loads((folder / "result.json").read_text())
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert result["status"] == "interrupted"
    assert result["epochs"] == len(lines) > 0
    assert (folder / "params.safetensors").exists()
    assert not list(folder.glob(".*"))


def test_a_diverging_run_fails_with_the_step_and_the_mend(tmp_path):
    done = dlcore(*SMALL, "--optimizer", "sgd", "--learning-rate", "1e30", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "The loss became" in done.stderr
    assert "at step" in done.stderr
    assert "lower --learning-rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"


def test_the_doctor_finds_this_machine_in_order():
    done = dlcore("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert all(test["ok"] for test in found["tests"] if not test["float64"])
    assert any(test["float64"] for test in found["tests"])
    assert found["versions"]["jaxlib"]


def test_without_the_extra_the_command_says_what_to_install(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')")
    done = dlcore("doctor", env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert done.returncode == 1
    assert "extra 'app'" in done.stderr
    assert "pip install dlcore" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nope"], "No such option: --nope"),
        (["trian"], "No such command 'trian'"),
        (["train", "--model", "cnn"], "--model cnn: one of convnet, mlp"),
        (["train", "--data", "mnist"], "--data mnist: one of digits"),
        (["train", "--optimizer", "adma"], "--optimizer adma: one of adam"),
        (["train", "--schedule", "linear"], "--schedule linear: one of cosine"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs", "0"], "--epochs 0: a whole number from 1"),
        (["train", "--batch-size", "899"], "there are 898 training examples"),
        (["train", "--layers", "8,x"], "--layers 8,x: whole numbers"),
        (["train", "--layers", "8,8,8,8"], "at most 3 are expected"),
        (["train", "--layers", "0"], "--layers 0"),
        (["train", "--data", "wine"], "use --model mlp"),
        (["train", "--dropout", "1.1"], "--dropout 1.1: a probability"),
        (["train", "--input-dropout", "-1"], "--input-dropout -1.0"),
        (["train", "--l2", "-1"], "--l2 -1.0"),
        (["train", "--learning-rate", "nan"], "--learning-rate nan"),
        (["train", "--seed", "-1"], "--seed -1"),
        (["train", "--shift", "-1"], "--shift -1"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_is_expected(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert commands.run(arguments) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing is written for a usage error"


def test_a_folder_that_cannot_be_written_or_is_in_use_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert commands.run([*SMALL, "--out", str(tmp_path / "file" / "run")]) == 1
    assert "the folder cannot be written" in capsys.readouterr().err
    assert commands.run([*SMALL, "--out", str(tmp_path)]) == 2
    assert "this folder is not empty" in capsys.readouterr().err


def test_it_refuses_to_train_on_a_compiler_that_is_wrong_unless_told_to(capsys, tmp_path, monkeypatch):
    wrong = [SelfTest("a sum", False, "3 of 4 wrong", "Install another release.")]
    monkeypatch.setattr("dlcore.app.training.check_compiler", lambda: wrong)
    arguments = ["train", "--model", "mlp", "--layers", "4", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert commands.run(arguments) == 1
    errors = capsys.readouterr().err
    assert "a sum: 3 of 4 wrong. Install another release." in errors
    assert "--trust-compiler" in errors
    assert not (tmp_path / "run").exists()
    # Optax' Adam and cosine schedule mix int32 and float, which the strict promotion of these tests refuses.
    assert commands.run([*arguments, "--trust-compiler", "--schedule", "constant", "--optimizer", "sgd"]) == 0


def test_the_doctor_exits_with_1_and_the_mend_where_something_is_wrong(capsys, monkeypatch):
    wrong = [SelfTest("a sum", False, "3 of 4 wrong", "Install another release.")]
    monkeypatch.setattr("dlcore.diagnostics.check_compiler", lambda: wrong)
    assert commands.run(["doctor"]) == 1
    assert "Install another release." in capsys.readouterr().out


def test_an_unforeseen_error_is_one_line_and_its_traceback_on_request(capsys, monkeypatch, tmp_path):
    def broken(*args, **options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr("dlcore.app.training.run_training", broken)
    assert commands.run(["train"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "dlcore: RuntimeError: the disk is on fire; --traceback shows where."
    ]
    assert commands.run(["train", "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_help_and_version_exit_with_0(capsys):
    assert commands.run(["train", "--help"]) == 0
    assert "--learning-rate" in capsys.readouterr().out
    assert commands.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dlcore ")
