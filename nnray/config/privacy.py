"""The section on differential privacy: who is protected, how much noise there is, and what may be spent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo, field_validator

from nnray.config.components import Section, failure
from nnray.fields import Positive, PositiveInt
from nnray.registry import shown


def _check_delta(value: float) -> float:
    if 0 < value < 1:
        return value
    raise failure(f"must be a number above 0 and below 1, such as 1e-5 (got {shown(value)})")


def _check_quantile(value: float) -> float:
    if 0 < value < 1:
        return value
    raise failure(f"must be a number above 0 and below 1 (got {shown(value)})")


Delta = Annotated[float, AfterValidator(_check_delta)]
Quantile = Annotated[float, AfterValidator(_check_quantile)]

_OF_CLIENTS: dict[str, Any] = {
    "clipping": "flat",
    "mechanism": "gaussian",
    "noise_at": "server",
}
"""What an example has no choice of, and what it is there."""


class PrivacyConfig(Section):
    """Differential privacy: what is learnt of one client, or of one example, is bounded.

    ``epsilon`` alone: the noise is computed so that the whole run keeps to it. ``noise_multiplier`` alone:
    the epsilon that the run comes to is computed. Both: ``epsilon`` is a budget, and the round or epoch that
    would exceed it is not run.

    Args:
        unit: Who is protected: a whole ``client`` of federated training, or each ``example``.
        epsilon: That the run may spend.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        delta: Chance that the bound doesn't hold; well below one in the number of clients, or of examples.
        clip_norm: Longest change of a client, or gradient of an example, by its L2 norm; longer ones are
            scaled down. Where clipping is adaptive, the first one.
        clipping: Over all parameters together; by layer, each with the same share of ``clip_norm``; or
            together with a norm that follows a quantile of the clients'.
        quantile: Share of clients that adaptive clipping leaves as they are.
        accountant: How epsilon is computed: ``pld`` is tighter, ``rdp`` is that of most papers.
        mechanism: ``gaussian`` relies on random cohorts; ``tree`` (DP-FTRL) doesn't, and needs more noise.
        restart_every: Rounds of a tree; null: one tree for the whole run.
        max_participations: Rounds of a tree in which a client counts, in further ones it sends nothing;
            null: 1.
        noise_at: Where noise is added: once at the ``server``, or in parts by the ``clients``, so that with
            secure sums nobody sees a sum without it.
        replace_modules: Put group norm in the place of batch norm, which no example or client has alone.
        physical_batch_size: Examples whose gradients are held at a time; changes memory and speed only;
            null: ``training.batch_size``.
        metrics: Those of the private data (``train_*``, ``client_*``) are recorded ``outside`` the guarantee,
            and said to be, or are ``withheld``.
    """

    unit: Literal["client", "example"]
    epsilon: Positive | None = None
    noise_multiplier: Positive | None = None
    delta: Delta
    clip_norm: Positive = 1.0
    clipping: Literal["flat", "per_layer", "adaptive"] = "flat"
    quantile: Quantile | None = None
    accountant: Literal["rdp", "pld"] = "pld"
    mechanism: Literal["gaussian", "tree"] = "gaussian"
    restart_every: PositiveInt | None = None
    max_participations: PositiveInt | None = None
    noise_at: Literal["server", "clients"] = "server"
    replace_modules: bool = False
    physical_batch_size: PositiveInt | None = None
    metrics: Literal["outside", "withheld"] = "outside"

    @field_validator("noise_multiplier")
    @classmethod
    def _check_either(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and "epsilon" in info.data and info.data["epsilon"] is None:
            raise failure(
                "is missing, and so is privacy.epsilon: say epsilon, and the noise is computed; "
                "noise_multiplier, and epsilon is; or both, and training ends where epsilon is spent"
            )
        return value

    @field_validator(*_OF_CLIENTS)
    @classmethod
    def _check_fits_unit(cls, value: str, info: ValidationInfo) -> str:
        allowed = _OF_CLIENTS[str(info.field_name)]
        if info.data.get("unit") == "example" and value != allowed:
            raise failure(f"can only be {allowed!r} where privacy.unit is example (got {value!r})")
        return value

    @field_validator("quantile")
    @classmethod
    def _check_adaptive(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("clipping") in ("flat", "per_layer"):
            raise failure(f"is of adaptive clipping: leave it out, or set privacy.clipping (got {value})")
        return value

    @field_validator("mechanism")
    @classmethod
    def _check_mechanism(cls, value: str, info: ValidationInfo) -> str:
        if value == "tree" and info.data.get("clipping") == "adaptive":
            raise failure(
                "can't be 'tree' where clipping is adaptive: the norm can't change within a tree; "
                "take clipping: flat or per_layer"
            )
        return value

    @field_validator("restart_every", "max_participations")
    @classmethod
    def _check_tree(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("mechanism") == "gaussian":
            raise failure(f"is of mechanism: tree: leave it out, or set privacy.mechanism (got {value})")
        return value

    @field_validator("noise_at")
    @classmethod
    def _check_noise_at(cls, value: str, info: ValidationInfo) -> str:
        if value == "clients" and info.data.get("mechanism") == "tree":
            raise failure(
                "can't be 'clients' where mechanism is tree: the noise of a round takes away that of earlier "
                "ones, which other clients added; take noise_at: server"
            )
        return value

    @field_validator("physical_batch_size")
    @classmethod
    def _check_physical(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("unit") == "client":
            raise failure(f"is of unit: example: a client's own steps hold no gradients apart (got {value})")
        return value
