"""The experiment on penalties: scikit-learn's coefficients, the published order, and the command."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso

from dlcore import lab
from dlcore.app.commands import run as command
from dlcore.lab.penalty_path import events, verdict

X, Y = load_diabetes(return_X_y=True)
Y = Y - Y.mean()
N = len(Y)


@pytest.fixture(scope="module")
def result():
    return lab.run("penalty-path", points=13)


def test_coefficients_and_zeros_are_scikit_learns(result):
    for place, strength in enumerate(result.numbers["strengths"]):
        for method, model in (("L1", Lasso(alpha=strength)), ("elastic net", ElasticNet(alpha=strength, l1_ratio=0.5))):
            exact = model.set_params(fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, Y).coef_
            found = np.asarray(result.numbers["coefficients"][method][place])
            np.testing.assert_allclose(found, exact, atol=1e-6 * max(1.0, np.abs(exact).max()))
            assert (found == 0).tolist() == (exact == 0).tolist()
            assert result.numbers["zeros"][method][place] == (exact == 0).sum()
        ridge = np.linalg.solve(X.T @ X / N + 2 * strength * np.eye(10), X.T @ Y / N)
        np.testing.assert_allclose(result.numbers["coefficients"]["L2"][place], ridge, rtol=1e-6)


def test_features_enter_in_the_published_order_and_the_seventh_leaves_when_the_first_has_come(result):
    happened = [(event["number"], event["event"]) for event in result.numbers["events"]]
    # Efron et al. 2004: twelve steps.
    order = [3, 9, 4, 7, 2, 10, 5, 8, 6, 1]
    assert happened == [(number, "enters") for number in order] + [(7, "leaves"), (7, "enters")]
    assert round(result.numbers["largest |Xᵀy|"], 1) == 949.4
    assert max(result.numbers["largest violation of optimality"].values()) < 1e-12


def test_under_l1_weights_die_one_by_one_and_under_l2_they_only_shrink(result):
    assert result.numbers["zeros"]["L1"][-1] == 10
    assert result.numbers["zeros"]["L2"] == [0] * 13
    sizes = np.linalg.norm(result.numbers["coefficients"]["L2"], axis=1)
    assert (np.diff(sizes) < 0).all()


def test_the_verdict_says_what_the_numbers_say(result):
    assert "10 of 10 weights" in result.verdict
    assert "one by one, in the order 3, 9, 4, 7, 2, 10, 5, 8, 6, 1 (7 falls back on the way)." in result.verdict
    assert "none is ever zero: they only shrink (as a vector: 6 of them grow for a while)" in result.verdict
    strengths, names = np.array([1.0, 2.0, 3.0]), ["a", "b"]
    together = {
        "L1": np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]),
        "L2": np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]]),
    }
    happened = events(strengths, together["L1"], names)
    assert [event["feature"] for event in happened] == ["a", "b"]
    other = verdict(together, happened)
    assert "some of them together" in other
    assert "3 are zero" in other
    assert "do not only shrink" in other


def test_the_table_and_the_picture(result, tmp_path):
    lines = result.table().splitlines()
    assert len(lines) == 1 + 12
    assert lines[1].split()[1:] == ["bmi", "enters", "1"]
    picture = result.plot(tmp_path / "path.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_the_command_writes_what_it_shows(tmp_path, capsys):
    assert command(["lab", "penalty-path", "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["verdict"] in shown
    assert len(record["numbers"]["strengths"]) == 80
    assert (tmp_path / "run" / "penalty_path.png").exists()


def test_without_a_name_it_lists_and_with_a_wrong_one_it_says_so(tmp_path, capsys):
    assert command(["lab"]) == 0
    assert capsys.readouterr().out.startswith("penalty-path  Do weights")
    assert command(["lab", "penalty"]) == 2
    assert "there is no such experiment; there are penalty-path" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert command(["lab", "penalty-path", "--out", str(tmp_path / "file")]) == 2
    with pytest.raises(ValueError, match=r"lab\.run: `name`"):
        lab.run("penalty")
    with pytest.raises(TypeError, match=r"lab\.penalty_path: `points`"):
        lab.run("penalty-path", points=2.5)
