"""What composes with what in a federated run; what doesn't, why, and what is nearest to it.

One table says it all: a file is checked against it before anything runs, and the page of the documentation is
written from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nnray.config.components import Component
from nnray.config.federated import FederatedConfig
from nnray.config.privacy import PrivacyConfig
from nnray.errors import Problem


class Asking(Protocol):
    """An experiment, as far as this is about it."""

    @property
    def federated(self) -> FederatedConfig | None:
        """Its section on rounds."""

    @property
    def loss(self) -> Component:
        """What is learnt by."""

    @property
    def privacy(self) -> PrivacyConfig | None:
        """Its section on privacy."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a file may ask for.

    Args:
        path: Where it asks.
        title: What it is called.
        is_asked: Whether a file does.
    """

    path: str
    title: str
    is_asked: Callable[[Asking], bool]


@dataclass(frozen=True, slots=True)
class Ban:
    """Two features that don't go together.

    Args:
        one: Name of the feature that rules the other out.
        other: Name of the other.
        reason: Why.
        instead: What is nearest to both.
    """

    one: str
    other: str
    reason: str
    instead: str


def _of(ask: Callable[[FederatedConfig], bool]) -> Callable[[Asking], bool]:
    return lambda made: made.federated is not None and ask(made.federated)


def _unit(unit: str) -> Callable[[Asking], bool]:
    return lambda made: made.federated is not None and made.privacy is not None and made.privacy.unit == unit


def _federates(made: Asking) -> bool:
    return made.federated is not None


def _privacy(made: Asking) -> PrivacyConfig:
    assert made.privacy is not None, "asked for after the unit"
    return made.privacy


def _mechanism(made: Asking, name: str) -> bool:
    return _unit("client")(made) and _privacy(made).mechanism == name


_PERSONAL = ("fedper", "fedrep", "fedbn", "ditto", "pfedme")
_OTHER_CODECS = ("top_k", "qsgd", "int8", "signsgd", "powersgd")
_COLLUDING = ("alie", "inner_product")
_LYING = ("sign_flip", "gaussian", "scale", *_COLLUDING)

FEATURES: Mapping[str, Feature] = {
    "client privacy": Feature("privacy.unit", "privacy of clients", _unit("client")),
    "trees": Feature(
        "privacy.mechanism", "privacy by trees (DP-FTRL)", lambda made: _mechanism(made, "tree")
    ),
    "sampled privacy": Feature(
        "privacy.mechanism", "privacy by random cohorts", lambda made: _mechanism(made, "gaussian")
    ),
    "noise at clients": Feature(
        "privacy.noise_at",
        "noise added by clients",
        lambda made: _unit("client")(made) and _privacy(made).noise_at == "clients",
    ),
    "example privacy": Feature("privacy.unit", "privacy of examples", _unit("example")),
    "secure": Feature("federated.secure", "secure sums", _of(lambda f: f.secure is not None)),
    "robust": Feature(
        "federated.aggregator",
        "a robust rule",
        _of(lambda f: f.aggregator is not None and f.aggregator.name != "mean"),
    ),
    "attack": Feature("federated.attack", "an attack", _of(lambda f: f.attack is not None)),
    "colluding attack": Feature(
        "federated.attack",
        "an attack whose clients collude",
        _of(lambda f: f.attack is not None and f.attack.name in _COLLUDING),
    ),
    "lying attack": Feature(
        "federated.attack",
        "an attack on what clients send",
        _of(lambda f: f.attack is not None and f.attack.name in _LYING),
    ),
    "codec": Feature("federated.codec", "a codec", _of(lambda f: f.codec is not None)),
    "own entries": Feature(
        "federated.codec",
        "a codec by which each client chooses or rounds entries for itself",
        _of(lambda f: f.codec is not None and f.codec.name in _OTHER_CODECS),
    ),
    "devices": Feature("federated.devices", "virtual time", _of(lambda f: f.devices is not None)),
    "asynchronous": Feature(
        "federated.asynchronous", "asynchronous training", _of(lambda f: f.asynchronous is not None)
    ),
    "sites": Feature("federated.sites", "sites", _of(lambda f: bool(f.sites))),
    "spares": Feature("federated.over_select", "spare clients", _of(lambda f: f.over_select > 0)),
    "deadline": Feature(
        "federated.deadline_s", "a deadline in real time", _of(lambda f: f.deadline_s is not None)
    ),
    "other loss": Feature(
        "loss", "a loss beside the task's own", lambda made: _federates(made) and made.loss.name != "plain"
    ),
    "side by side": Feature("federated.stacked", "clients side by side", _of(lambda f: f.stacked is True)),
    "personal": Feature(
        "federated.strategy", "a personalising strategy", _of(lambda f: f.strategy.name in _PERSONAL)
    ),
    "local": Feature("federated.strategy", "strategy local", _of(lambda f: f.strategy.name == "local")),
    "central": Feature("federated.strategy", "strategy central", _of(lambda f: f.strategy.name == "central")),
}

_NO_SITE = "is simulated, and sites are parties of their own"
_NOT_AT_SITES = "the gate of a site doesn't know its messages"
_NOTHING_SENT = "its clients send nothing"
_AUTO = "leave federated.stacked at auto"
_NO_CLIENTS = "it has all examples in one place, and no clients"

BANS: tuple[Ban, ...] = (
    Ban("client privacy", "robust", "noise is on a sum, and a rule looks at single updates",
        "leave the rule out: each client is clipped to privacy.clip_norm, which bounds what a liar can do"),
    Ban("client privacy", "colluding attack", "it reads single updates, and there is a sum alone",
        "take sign_flip, gaussian or scale"),
    Ban("client privacy", "spares", "who stands in for whom goes by who failed, and not by chance",
        "leave them out; noise covers a round to which fewer come"),
    Ban("client privacy", "asynchronous", "who comes goes by speed, and not by chance",
        "leave asynchronous out, or take privacy.unit: example"),
    Ban("client privacy", "personal", "what clients keep for themselves is not what is clipped",
        "take fedavg, fedprox, fedavgm or fedadam"),
    Ban("client privacy", "sites", "a handful of sites leaves no crowd to be hidden in",
        "take privacy.unit: example, which protects each example at its site"),
    Ban("client privacy", "local", _NOTHING_SENT, "leave privacy out: nothing of a client leaves it"),
    Ban("client privacy", "central", _NO_CLIENTS, "take nnray train with privacy.unit: example"),
    Ban("example privacy", "side by side", "each client draws its own examples", _AUTO),
    Ban("example privacy", "central", _NO_CLIENTS, "take nnray train, which obeys the same section"),
    Ban("example privacy", "other loss", "it looks at more than one example, or at a changed one",
        "leave the loss at plain"),
    Ban("secure", "robust", "a rule looks at single updates, and the server sees none",
        "leave secure out, or take the mean and privacy.unit: client, whose clipping bounds each client"),
    Ban("secure", "colluding attack", "it reads single updates, and nobody sees any",
        "take sign_flip, gaussian or scale"),
    Ban("secure", "own entries", "masks cover every entry of every client, so that nothing is saved",
        "take random_k, whose clients all send the same entries"),
    Ban("secure", "asynchronous", "masks cancel among the clients of one cohort", "leave asynchronous out"),
    Ban("secure", "spares", "a client that has agreed on no keys can't stand in",
        "leave them out: who drops out is recovered from, up to secure.dropped of the cohort"),
    Ban("secure", "side by side", "what clients send is summed before it could be masked", _AUTO),
    Ban("secure", "sites", _NOT_AT_SITES, "leave one of them out"),
    Ban("secure", "local", _NOTHING_SENT, "leave secure out"),
    Ban("secure", "central", _NO_CLIENTS, "leave secure out"),
    Ban("robust", "asynchronous", "updates that began with different weights are no crowd to compare",
        "leave asynchronous out"),
    Ban("robust", "local", _NOTHING_SENT, "leave the rule out"),
    Ban("robust", "central", _NO_CLIENTS, "leave the rule out"),
    Ban("attack", "sites", _NO_SITE, "share out a data set among clients to try an attack"),
    Ban("attack", "side by side", "attackers do not train as others do", _AUTO),
    Ban("attack", "central", _NO_CLIENTS, "leave the attack out"),
    Ban("lying attack", "local", _NOTHING_SENT, "take label_flip or backdoor, which alter examples"),
    Ban("colluding attack", "asynchronous", "it reads what others send in the same round",
        "take sign_flip, gaussian or scale"),
    Ban("codec", "sites", _NOT_AT_SITES, "leave the codec out"),
    Ban("codec", "local", _NOTHING_SENT, "leave the codec out"),
    Ban("codec", "central", _NO_CLIENTS, "leave the codec out"),
    Ban("devices", "sites", _NO_SITE, "share out a data set among clients to simulate devices"),
    Ban("devices", "deadline", "a round is timed in virtual time", "set federated.round_deadline_s instead"),
    Ban("devices", "central", _NO_CLIENTS, "leave devices out"),
    Ban("asynchronous", "spares", "there are no cohorts", "leave over_select out"),
    Ban("asynchronous", "local", _NOTHING_SENT, "leave asynchronous out"),
    Ban("sites", "personal", "what sites keep is sent with updates, and personal layers are not to be",
        "take fedavg or scaffold"),
    Ban("sites", "local", "it makes no one model of what sites send", "take fedavg"),
    Ban("sites", "central", "it needs all examples in one place", "take fedavg"),
    Ban("deadline", "side by side", "none of the clients that share a step can be cut off", _AUTO),
    Ban("side by side", "personal", "its clients train in stages, each with weights of its own", _AUTO),
    Ban("side by side", "other loss", "what clients share is computed for the task's own loss", _AUTO),
    Ban("side by side", "local", "each client has weights of its own", _AUTO),
    Ban("side by side", "central", _NO_CLIENTS, _AUTO),
)  # fmt: skip


def conflicts(made: Asking) -> Iterator[Problem]:
    """What an experiment asks for that doesn't go together.

    Args:
        made: Whole, but for this check.
    """
    asked = {name for name, feature in FEATURES.items() if feature.is_asked(made)}
    for ban in BANS:
        if {ban.one, ban.other} <= asked:
            one, other = FEATURES[ban.one], FEATURES[ban.other]
            text = f"{other.title} doesn't go with {one.title} ({one.path}): {ban.reason}; {ban.instead}"
            yield Problem(other.path, text)


def table() -> str:
    """The page of the documentation: all pairs that are refused; all others compose."""
    lines = ["| asked for | with | is refused because | nearest |", "|---|---|---|---|"]
    for ban in BANS:
        one, other = FEATURES[ban.one], FEATURES[ban.other]
        lines.append(
            f"| {other.title} (`{other.path}`) | {one.title} (`{one.path}`) | {ban.reason} | {ban.instead} |"
        )
    return "\n".join(lines)
