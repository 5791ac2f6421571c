"""``nnray privacy``: two of three, and the third is found."""

from __future__ import annotations

import json

import pytest

from nnray import api
from nnray.errors import ConfigError
from tests.unit.cli_calls import Nnray, caller


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    return caller(monkeypatch, capsys)


def answered(nnray: Nnray, line: str) -> dict[str, object]:
    code, out, err = nnray("privacy", *line.split(), "--json")
    assert (code, err) == (0, "")
    found = json.loads(out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("accountant", "published"), [("rdp", 7.3291), ("pld", 6.7688)])
def test_epsilon_is_found(nnray: Nnray, accountant: str, published: float) -> None:
    line = f"--noise 1.5 --rate 0.04 --rounds 2250 --delta 1e-5 --accountant {accountant}"
    found = answered(nnray, line)
    assert found["epsilon"] == found["spent"] == pytest.approx(published, abs=1e-3)
    assert found["found"] == "epsilon"
    assert found["accountant"] == accountant


def test_noise_is_found(nnray: Nnray) -> None:
    line = "--epsilon 2 --delta 1e-5 --rounds 100 --cohort 10 --clients 100"
    found = answered(nnray, line)
    assert found["noise_multiplier"] == pytest.approx(2.2477, abs=1e-3)
    assert (found["epsilon"], found["found"], found["rate"]) == (2.0, "noise", 0.1)
    assert 1.999 < float(str(found["spent"])) <= 2.0


def test_rounds_are_found(nnray: Nnray) -> None:
    found = answered(nnray, "--epsilon 2 --noise 2.3 --delta 1e-5 --rate 0.1")
    rounds = int(str(found["rounds"]))
    kept, broken = (
        answered(nnray, f"--rounds {n} --noise 2.3 --delta 1e-5 --rate 0.1") for n in (rounds, rounds + 1)
    )
    assert float(str(kept["epsilon"])) <= 2.0 < float(str(broken["epsilon"]))
    assert found["spent"] == kept["epsilon"]


def test_fixed_cohorts_cost_more(nnray: Nnray) -> None:
    line = "--noise 1 --rate 0.1 --rounds 100 --delta 1e-5 --accountant rdp"
    assert answered(nnray, line)["epsilon"] == pytest.approx(7.90, abs=5e-3)
    assert answered(nnray, f"{line} --sampling fixed")["epsilon"] == pytest.approx(14.05, abs=5e-3)


def test_trees_need_no_rate(nnray: Nnray) -> None:
    found = answered(nnray, "--mechanism tree --restart-every 10 --epsilon 2 --rounds 100 --delta 1e-5")
    assert (found["restart_every"], found["max_participations"]) == (10, 1)
    again = (
        f"--mechanism tree --restart-every 10 --noise {found['noise_multiplier']} --rounds 100 --delta 1e-5"
    )
    assert answered(nnray, again)["epsilon"] == pytest.approx(2.0, abs=1e-3)


def test_for_people_it_says_what_it_means(nnray: Nnray) -> None:
    code, out, _ = nnray("privacy", *["--noise", "1", "--rate", "0.1", "--rounds", "100", "--delta", "1e-5"])
    assert code == 0
    found, sampling, unit = out.splitlines()
    assert found == "epsilon 7.0466 at delta 1e-05: what 100 rounds with noise 1.0000 come to"
    assert (
        "probability 0.1, by a toss of its own; neighbours differ by one that is added or removed" in sampling
    )
    assert "noise is over the clip norm; one is a client or an example" in unit


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--epsilon 2 --rounds 100 --rate 0.1", "noise 2.2478: so much keeps 100 rounds to epsilon 2"),
        ("--epsilon 2 --noise 2.3 --rate 0.1", "(they come to 1.9"),
        ("--noise 1 --rounds 9 --rate 1", "all take part in every round"),
        ("--noise 1 --rounds 9 --mechanism tree", "one tree, in each of which one counts 1 time(s)"),
        ("--noise 9 --rounds 9 --mechanism tree --restart-every 3", "trees of 3 rounds"),
        (
            "--noise 1 --rounds 9 --rate 0.1 --sampling fixed --accountant rdp",
            "noise is over twice the clip norm",
        ),
    ],
)
def test_each_answer_says_its_assumptions(nnray: Nnray, line: str, says: str) -> None:
    code, out, _ = nnray("privacy", *line.split(), "--delta", "1e-5")
    assert code == 0
    assert says in out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--noise 1 --rate 0.1", "give two of epsilon, noise and rounds, and the third is found (got noise)"),
        ("--rate 0.1", "give two of epsilon, noise and rounds, and the third is found (got none)"),
        ("--epsilon 1 --noise 1 --rounds 1 --rate 0.1", "(got epsilon, noise, rounds)"),
        ("--noise 1 --rounds 9", "give the rate, or both cohort and clients"),
        ("--noise 1 --rounds 9 --rate 0.1 --cohort 3", "give the rate, or both cohort and clients"),
        ("--noise 1 --rounds 9 --cohort 3", "needs both cohort and clients"),
        ("--noise 1 --rounds 9 --cohort 30 --clients 3", "cohort: must be an integer from 1 to clients"),
        ("--noise 1 --rounds 0 --rate 0.1", "rounds: must be an integer from 1 to 1000000 (got 0)"),
        ("--noise 0 --rounds 9 --rate 0.1", "noise_multiplier: must be a number above 0 (got 0.0)"),
        ("--noise 1 --rounds 9 --rate 0.1 --restart-every 3", "is of mechanism tree"),
        ("--noise 1 --rounds 9 --mechanism tree --restart-every 0", "must be an integer above 0 (got 0)"),
        ("--noise 1 --rounds 9 --mechanism tree --rate 0.1", "leave out rate, cohort and clients"),
        ("--noise 1 --rounds 9 --rate 0.1 --sampling fixed", "can only be 'rdp' (got 'pld')"),
        ("--noise 1 --epsilon 0.01 --rate 0.1", "epsilon: is less than the first round comes to"),
    ],
)
def test_what_can_not_be_answered_is_told(nnray: Nnray, line: str, says: str) -> None:
    code, out, err = nnray("privacy", *line.split(), "--delta", "1e-5")
    assert (code, out) == (2, "")
    assert says in err


def test_a_wrong_delta_is_told(nnray: Nnray) -> None:
    code, _, err = nnray("privacy", *["--noise", "1", "--rounds", "9", "--rate", "0.1", "--delta", "1"])
    assert code == 2
    assert "delta: must be a number above 0 and below 1, such as 1e-5 (got 1.0)" in err


def test_the_function_gives_the_same() -> None:
    found = api.privacy(noise_multiplier=1.0, rate=0.1, rounds=100, delta=1e-5)
    assert found.epsilon == pytest.approx(7.0466, abs=1e-3)
    assert found.summary().startswith("epsilon 7.0466")
    with pytest.raises(ConfigError, match="give two"):
        api.privacy(delta=1e-5, rate=0.1)
