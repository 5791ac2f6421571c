"""What noise costs, before anything is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.privacy.plan import Plan


def privacy(
    *,
    delta: float,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    rounds: int | None = None,
    rate: float | None = None,
    cohort: int | None = None,
    clients: int | None = None,
    accountant: Literal["rdp", "pld"] = "pld",
    sampling: Literal["poisson", "fixed"] = "poisson",
    mechanism: Literal["gaussian", "tree"] = "gaussian",
    restart_every: int | None = None,
    max_participations: int | None = None,
) -> Plan:
    """Find the one of epsilon, noise and rounds that is not given.

    Args:
        delta: Of the guarantee.
        epsilon: To be kept to.
        noise_multiplier: Standard deviation of the noise over the clip norm.
        rounds: Of federated training; or steps, where examples are protected.
        rate: Probability that a client takes part in a round.
        cohort: Clients of a round on average, instead, out of ``clients``.
        clients: All that there are.
        accountant: How epsilon is computed.
        sampling: Poisson; or cohorts of a fixed size, where neighbours differ by one that is replaced and
            noise is over twice the clip norm.
        mechanism: Each round by itself, or along trees (DP-FTRL), which need no rate.
        restart_every: Rounds of a tree; None for one tree.
        max_participations: Rounds of a tree in which a client counts; None for 1.

    Raises:
        ConfigError: Not two of the three are given, or a value is out of its range.
    """
    from nnray.privacy.accounting import Trees
    from nnray.privacy.calibrate import MOST_STEPS
    from nnray.privacy.plan import plan

    _require_tree(mechanism, restart_every, max_participations=max_participations)
    if mechanism == "tree":
        _require_no_rate(rate, cohort, clients=clients)
        trees, share = Trees(restart_every or MOST_STEPS, max_participations or 1), 1.0
    else:
        trees, share = None, _rate(rate, cohort, clients=clients)
    return plan(
        delta=delta,
        epsilon=epsilon,
        noise_multiplier=noise_multiplier,
        rounds=rounds,
        rate=share,
        accountant=accountant,
        sampling=sampling,
        trees=trees,
    )


def _rate(rate: float | None, cohort: int | None, *, clients: int | None) -> float:
    if (rate is None) == (cohort is None and clients is None):
        raise _wrong("rate", "give the rate, or both cohort and clients: one of the two")
    if rate is not None:
        return rate
    if cohort is None or clients is None:
        raise _wrong("rate", "needs both cohort and clients where it is not given itself")
    if not 0 < cohort <= clients:
        raise _wrong("cohort", f"must be an integer from 1 to clients, which is {clients} (got {cohort})")
    return cohort / clients


def _require_no_rate(rate: float | None, cohort: int | None, *, clients: int | None) -> None:
    if not rate is cohort is clients is None:
        raise _wrong(
            "mechanism", "'tree' doesn't depend on who takes part: leave out rate, cohort and clients"
        )


def _require_tree(mechanism: str, restart_every: int | None, *, max_participations: int | None) -> None:
    for name, value in (("restart_every", restart_every), ("max_participations", max_participations)):
        if value is not None and mechanism != "tree":
            raise _wrong(name, f"is of mechanism tree: leave it out, or say the mechanism (got {value})")
        if value is not None and value < 1:
            raise _wrong(name, f"must be an integer above 0 (got {value})")


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError("privacy", [Problem(path, message)])
