"""Rounds with secure sums: the bits of plain ones, whoever drops out, and nothing of one client is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
import torch

from nnray.assembly import load_data
from nnray.config import Experiment
from nnray.errors import ClientFailure, ConfigError, IncompatibleModel
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.sampling import Cohort
from nnray.privacy.secure.failure import SecureAggregationRefused
from nnray.privacy.secure.session import open_session
from nnray.runners.federated import run as run_module
from nnray.runners.federated.crew import Alone, Arguments, States
from nnray.runners.federated.masking import Masked, masked, require_maskable, summable
from nnray.runners.federated.parties import Masking
from nnray.runners.federated.setting import Setting, build_flat, first_weights, make_setting
from tests.unit.runners.federated.small import FAULTS, Ran, Told, experiment, ran

SECURE: dict[str, Any] = {"secure": {}, "on_client_error": "drop"}
PLAIN: dict[str, Any] = {"on_client_error": "drop", "stacked": False}
UNTOLD = ("bytes_up", "train_loss")
"""Metrics that differ from those of a plain run."""


def setting_of(federated: Mapping[str, Any] | None = None, **fields: Any) -> Setting:
    made = experiment({**SECURE, **(federated or {})}, **fields)
    return make_setting(made, load_data(made))


def start_of(setting: Setting, *, round_: int = 1, room: int = 5) -> RoundStart:
    return RoundStart(round=round_, weights=first_weights(setting), room=room)


def same(one: Outcome, other: Outcome) -> bool:
    """Whether sums are those of the other, bit for bit."""
    assert one.sums.vectors.keys() == other.sums.vectors.keys()
    for name, value in one.sums.vectors.items():
        found = other.sums.vectors[name]
        if not torch.equal(value.total, found.total) or value.weight != found.weight:
            return False
    return one.sums.numbers == other.sums.numbers and one.sums.count == other.sums.count


class Spy:
    """A crew of this process that keeps what it gives, and of which clients may drop out at a stage."""

    def __init__(self, setting: Setting, *, lose: Mapping[str, Sequence[int]] | None = None) -> None:
        self._inner, self._lose = Alone(setting), dict(lose or {})
        self.evaluate, self.evaluate_clients = self._inner.evaluate, self._inner.evaluate_clients
        self.evaluate_personal = self._inner.evaluate_personal
        self.outcomes: list[Outcome] = []
        self.sessions: list[bytes] = []
        self.answers: list[Any] = []

    def train(
        self, start: RoundStart, clients: Sequence[int], states: States, *, masking: Masking | None = None
    ) -> Outcome:
        lost = [client for client in self._lose.get("train", ()) if client in clients]
        there = [client for client in clients if client not in lost]
        assert masking is not None
        self.sessions.append(masking.session.digest)
        found = self._inner.train(start, there, states, masking=masking.of(there)) if there else Outcome()
        self.outcomes.append(found)
        return found + Outcome(failures=tuple(Failed(client, "left") for client in lost))

    def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
        lost = [client for client in self._lose.get(method, ()) if client in clients]
        there = [client for client in clients if client not in lost]
        found = self._inner.ask(method, there, make)
        self.answers += found
        return [*found, *(Failed(client, "left") for client in lost)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "scaffold"},
        {"strategy": "fednova"},
        {"strategy": "fedadam"},
        {"strategy": "qfedavg"},
        {"codec": {"name": "random_k", "share": 0.2}},
        {"codec": {"name": "random_k", "share": 0.2}, "strategy": "scaffold"},
        {"holdout": 0.2},
        {"secure": {"neighbours": 4, "threshold": 3}, "cohort": 9},
    ],
    ids=lambda options: ", ".join(map(str, chain(*options.items()))) or "fedavg",
)
def test_a_run_comes_to_the_bits_of_a_plain_one(options: dict[str, Any]) -> None:
    plain, expected = ran({**options, **PLAIN, "secure": None})
    run, result = ran({**SECURE, **options})
    assert result.model_sha256 == expected.model_sha256
    for one, other in zip(run.measured, plain.measured, strict=True):
        assert "train_loss" in other
        assert "train_loss" not in one
        assert {k: v for k, v in one.items() if k not in UNTOLD} == {
            k: v for k, v in other.items() if k not in UNTOLD
        }
        assert one["bytes_up"] > other["bytes_up"]


def test_a_client_that_fails_is_recovered_from() -> None:
    breaks = {"name": f"{FAULTS}breaks", "how": "raise", "clients": list(range(0, 20, 4))}
    plain, expected = ran({**PLAIN, "strategy": breaks})
    run, result = ran({**SECURE, "strategy": breaks})
    assert sum(metrics["failures"] for metrics in run.measured) >= 2
    assert result.model_sha256 == expected.model_sha256
    assert [r.failures for r in run.history] == [r.failures for r in plain.history]


def test_too_many_that_fail_end_the_run_and_are_named() -> None:
    breaks = {"name": f"{FAULTS}breaks", "how": "raise", "clients": list(range(20))}
    with pytest.raises(ClientFailure) as caught:
        ran({**SECURE, "strategy": breaks})
    assert "at its stage 'masked input'" in str(caught.value)
    assert "the sensor of client" in str(caught.value)


def test_an_interrupted_run_goes_on_to_the_same_bits() -> None:
    """The secret of a process is new, and so are the masks; the sums are not."""
    options = {**SECURE, "strategy": "scaffold"}
    whole, expected = ran(options)
    run = Ran(experiment(options))
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=2))
    assert run.go().model_sha256 == expected.model_sha256
    assert run.measured == whole.measured


def test_cohorts_by_chance_may_be_empty_or_of_one() -> None:
    """The one is left out, for its vector would be the sum."""
    options = {**SECURE, "sampler": "poisson", "cohort": 2, "rounds": 12}
    run, result = ran(options)
    cohorts = [int(metrics["cohort"]) for metrics in run.measured]
    assert 0 in cohorts
    assert max(cohorts) >= 3
    assert 1 not in cohorts
    assert ran(options)[1].model_sha256 == result.model_sha256


@pytest.mark.parametrize(("chosen", "left"), [([], []), ([7], []), ([3, 7], [3, 7])])
def test_a_cohort_of_one_is_nobody(chosen: list[int], left: list[int]) -> None:
    spares = np.array([1], dtype=np.int64)
    found = summable(Cohort(np.array(chosen, dtype=np.int64), spares))
    assert found.chosen.tolist() == left
    assert found.spares is spares


def test_no_sum_of_one_or_none_is_made() -> None:
    setting = setting_of()
    spy = Spy(setting)
    crew = Masked(spy, setting)
    assert crew.train(start_of(setting), [], {}) == Outcome()
    (failed,) = crew.train(start_of(setting), [3], {}).failures
    assert failed.client == 3
    assert "hides nothing" in failed.error
    assert not spy.outcomes
    assert not spy.answers


def test_nothing_of_a_client_comes_to_the_server() -> None:
    """What workers give is not the sum of any of the clients, in any entry; nor are losses among it."""
    setting, clients = setting_of({"strategy": "fednova"}), [1, 4, 6, 8, 11]
    spy, alone, start = Spy(setting), Alone(setting), start_of(setting)
    outcome = Masked(spy, setting).train(start, clients, {})
    (given,) = spy.outcomes
    subsets = chain.from_iterable(combinations(clients, size) for size in range(1, 6))
    assert same(outcome, alone.train(start, clients, {}))
    for subset in subsets:
        plain = alone.train(start, subset, {})
        for name, value in plain.sums.vectors.items():
            seen = given.sums.vectors[name]
            assert (seen.total == value.total).float().mean() < 0.01, (subset, name)
            assert seen.weight == 0
    assert all(number.total == number.weight == 0 for number in given.sums.numbers.values())
    assert given.sums.numbers
    assert all(math.isnan(report.loss) for report in (*given.reports, *outcome.reports))
    assert not given.messages


def test_what_workers_give_is_spread_over_all_words() -> None:
    """The share of bits that are set is a half: 1600 words of one client, within four standard errors."""
    setting = setting_of()
    spy = Spy(setting)
    Masked(spy, setting).train(start_of(setting), [1, 4], {})
    words = spy.outcomes[0].sums.vectors["delta"].total.numpy().view(np.uint8)
    share, error = float(np.unpackbits(words).mean()), 0.5 / math.sqrt(8 * words.size)
    assert abs(share - 0.5) < 4 * error
    plain = Alone(setting).train(start_of(setting), [1, 4], {}).sums.vectors["delta"].total.numpy()
    assert abs(float(np.unpackbits(plain.view(np.uint8)).mean()) - 0.5) > 4 * error


@pytest.mark.parametrize("method", ["secure_keys", "secure_shares", "train"])
def test_who_leaves_before_the_vectors_is_named_and_not_in_the_sum(method: str) -> None:
    setting, clients = setting_of(), [1, 4, 6, 8, 11]
    start = start_of(setting)
    outcome = Masked(Spy(setting, lose={method: [4, 8]}), setting).train(start, clients, {})
    assert sorted(failed.client for failed in outcome.failures) == [4, 8]
    assert [report.client for report in outcome.reports] == [1, 6, 11]
    assert same(outcome, Alone(setting).train(start, [1, 6, 11], {}))


def test_who_leaves_after_the_vectors_is_in_the_sum() -> None:
    setting, clients = setting_of(), [1, 4, 6, 8, 11]
    start = start_of(setting)
    outcome = Masked(Spy(setting, lose={"secure_reveal": [4, 8]}), setting).train(start, clients, {})
    assert outcome.failures == ()
    assert same(outcome, Alone(setting).train(start, clients, {}))


@pytest.mark.parametrize(
    ("method", "stage"),
    [
        ("secure_keys", "keys"),
        ("secure_shares", "shares"),
        ("train", "masked input"),
        ("secure_reveal", "unmasking"),
    ],
)
def test_one_more_ends_it(method: str, stage: str) -> None:
    setting = setting_of()
    crew = Masked(Spy(setting, lose={method: [4, 6, 8]}), setting)
    with pytest.raises(ClientFailure, match=f"at its stage '{stage}'.*needed: at least 3"):
        crew.train(start_of(setting), [1, 4, 6, 8, 11], {})


def test_each_sum_has_masks_of_its_own() -> None:
    """A round that is summed again, the next round, and a process that does a round over."""
    setting = setting_of()
    spy, clients = Spy(setting), [1, 4, 6]
    crew = Masked(spy, setting)
    for round_ in (1, 1, 2):
        crew.train(start_of(setting, round_=round_), clients, {})
    assert len(set(spy.sessions)) == 3
    over = Spy(setting)
    Masked(over, setting).train(start_of(setting), clients, {})
    assert over.sessions[0] == spy.sessions[0]
    one, other = (found.outcomes[0].sums.vectors["delta"].total for found in (spy, over))
    assert (one == other).float().mean() < 0.01


def test_a_worker_refuses_to_tell_both_secrets_of_a_client() -> None:
    setting, clients = setting_of(), [1, 4, 6, 8, 11]

    class Lying(Spy):
        """A server that asks anew, for another story of who has left."""

        def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
            found = super().ask(method, clients, make)
            if method == "secure_reveal":
                masking, requests = make(clients)
                told = {client: type(r)(r.survivors[:-1], r.survivors[-1:]) for client, r in requests.items()}
                super().ask(method, clients, lambda own: (masking, {own[0]: told[own[0]]}))
            return found

    with pytest.raises(SecureAggregationRefused, match="other secret"):
        Masked(Lying(setting), setting).train(start_of(setting), clients, {})


def test_a_thin_link_saves_masked_words_too() -> None:
    clients, saved = [1, 4, 6, 8, 11], {}
    for share in (0.1, 0.6, 1.0):
        setting = setting_of({"codec": {"name": "random_k", "share": share}})
        start = start_of(setting)
        outcome = Masked(Spy(setting), setting).train(start, clients, {})
        assert same(outcome, Alone(setting).train(start, clients, {}))
        saved[share] = outcome.bytes_up
    size = sum(slot.size for slot in build_flat(setting).slots)  # without what is between tensors
    for share in (0.1, 0.6):
        assert saved[1.0] - saved[share] == 5 * 8 * (size - round(share * size))


def test_bytes_are_those_that_were_sent() -> None:
    setting, clients = setting_of(), [1, 4, 6, 8, 11]
    spy = Spy(setting)
    outcome = Masked(spy, setting).train(start_of(setting), clients, {})
    protocol = sum(message.num_bytes for _, messages in spy.answers for message in messages)
    words = sum(value.total.numel() for value in spy.outcomes[0].sums.vectors.values())
    assert len(spy.answers) == 3 * 5
    assert outcome.bytes_up == 5 * 8 * words + protocol
    # 104 of keys, 4 * 98 of shares, and 16 + 5 * 41 of what is revealed: of each client.
    assert protocol == 5 * (104 + 4 * 98 + 16 + 5 * 41)


def test_a_crew_without_secure_sums_stays_as_it_is() -> None:
    made: Experiment = experiment(PLAIN)
    setting = make_setting(made, load_data(made))
    alone = Alone(setting)
    assert masked(alone, setting) is alone
    assert isinstance(masked(Alone(setting_of()), setting_of()), Masked)


def test_the_secret_is_nowhere_in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    crews: list[Masked] = []

    def keeping(crew: Any, setting: Setting) -> Any:
        crews.append(Masked(crew, setting))
        return crews[-1]

    monkeypatch.setattr(run_module, "masked", keeping)
    run, _ = ran({**SECURE, "rounds": 1})
    (crew,) = crews
    secret = crew._secret
    files = [path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file()]
    assert files
    assert not any(secret in found or secret.hex().encode() in found for found in files)
    session = open_session([1, 4], round=1, seed=0)
    assert repr(secret) not in repr(Masking(session, secret))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_client_error": "retry"}, "federated.secure: can't try a client again.*drop"),
        ({"secure": {"neighbours": 3}}, r"neighbours must be 2, 4, 6, ... \(got 3\)"),
        ({"secure": {"threshold": 3}}, "no number of neighbours"),
        ({"secure": {"corrupt": 0.5, "dropped": 0.25}}, "below 1 .got 0.5 and 0.25"),
    ],
)
def test_files_that_ask_for_what_is_not_possible_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        experiment({**SECURE, **options})
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cohort": 1}, r"needs a cohort of 2 to 65535 clients.*\(got 1\)"),
        (
            {"secure": {"neighbours": 4, "threshold": 2}},
            r"federated.secure.threshold: .*got 2; allowed: 3 to 5",
        ),
        ({"strategy": f"{__name__}:reads"}, "reads messages one by one"),
    ],
)
def test_runs_that_can_not_be_masked_are_refused_before_they_begin(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        require_maskable(setting_of(options))


def test_counters_of_batch_norm_are_named() -> None:
    model = {"name": "mlp", "hidden": [8], "norm": "batch"}
    with pytest.raises(IncompatibleModel, match=r"num_batches_tracked.*\n.*group norm"):
        require_maskable(setting_of(model=model))
    require_maskable(setting_of({"strategy": "fedbn"}, model=model))


def test_a_threshold_needs_everyone_in_a_smaller_cohort() -> None:
    setting = setting_of({"secure": {"neighbours": 6, "threshold": 5}, "cohort": 9})
    require_maskable(setting)
    start, crew = start_of(setting), Masked(Alone(setting), setting)
    assert same(crew.train(start, [1, 4], {}), Alone(setting).train(start, [1, 4], {}))
    with pytest.raises(ClientFailure, match="needed: at least 2"):
        Masked(Spy(setting, lose={"train": [4]}), setting).train(start, [1, 4], {})


def reads() -> Any:
    """A strategy that reads messages one by one."""
    from nnray.federated.strategies.fedavg import FedAvg

    class Reading(FedAvg):
        collects = True

    return Reading()
