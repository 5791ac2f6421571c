"""Differential privacy: what noise costs, before anything is run."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from nnray.cli.options import Json, running


def privacy(
    *,
    delta: Annotated[float, typer.Option(help="Chance that the bound doesn't hold.", show_default=False)],
    epsilon: Annotated[float | None, typer.Option(help="To be kept to.", show_default=False)] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", help="Its standard deviation over the clip norm.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds; or steps, for examples.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Probability to take part in a round.", show_default=False)
    ] = None,
    cohort: Annotated[
        int | None, typer.Option(help="Instead of the rate: clients of a round...", show_default=False)
    ] = None,
    clients: Annotated[int | None, typer.Option(help="...out of so many.", show_default=False)] = None,
    accountant: Annotated[Literal["pld", "rdp"], typer.Option(help="How epsilon is computed.")] = "pld",
    sampling: Annotated[
        Literal["poisson", "fixed"],
        typer.Option(help="Of cohorts; fixed: neighbours by replacing one, noise over twice the clip norm."),
    ] = "poisson",
    mechanism: Annotated[
        Literal["gaussian", "tree"], typer.Option(help="tree (DP-FTRL) needs no random cohorts.")
    ] = "gaussian",
    restart_every: Annotated[
        int | None, typer.Option(help="Rounds of a tree; by default all.", show_default=False)
    ] = None,
    max_participations: Annotated[
        int | None, typer.Option(help="Of one client in a tree; by default 1.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Find one of epsilon, noise and rounds from the other two."""
    from nnray import api

    with running():
        found = api.privacy(
            delta=delta,
            epsilon=epsilon,
            noise_multiplier=noise,
            rounds=rounds,
            rate=rate,
            cohort=cohort,
            clients=clients,
            accountant=accountant,
            sampling=sampling,
            mechanism=mechanism,
            restart_every=restart_every,
            max_participations=max_participations,
        )
    typer.echo(json.dumps(found.to_dict(), sort_keys=True) if as_json else found.summary())
