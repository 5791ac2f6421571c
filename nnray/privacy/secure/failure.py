"""How secure aggregation ends where it can't come to a sum."""

from __future__ import annotations

from nnray.errors import ClientFailure, NnrayError


class SecureAggregationAborted(ClientFailure):
    """A round whose secure sum can't be known.

    Args:
        stage: Of the protocol; one of ``session.STAGES``.
        problem: What is missing or wrong, how much there was, and how much was needed.
    """

    def __init__(self, stage: str, problem: str) -> None:
        self.stage, self.problem = stage, problem
        super().__init__(stage, problem)

    def __str__(self) -> str:
        return (
            f"secure aggregation was aborted at its stage {self.stage!r}: {self.problem}; "
            "no sum of this round can be known, so run it again with clients that stay"
        )


class SecureAggregationRefused(NnrayError):
    """A party was asked for, or sent, what an honest party would never ask for or send.

    Args:
        party: Who refuses.
        problem: What it was asked for or got, and what is allowed.
    """

    def __init__(self, party: str, problem: str) -> None:
        self.party, self.problem = party, problem
        super().__init__(party, problem)

    def __str__(self) -> str:
        return f"{self.party} refuses to go on with secure aggregation: {self.problem}"
