"""Types for the parameters of plug-ins: what a value may be, said once, in the signature.

A plug-in annotates its keyword-only arguments with these, with plain Python types, or with
``Literal``; config reads them from the source without importing it, checks every value, and
puts the same bounds into the JSON schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1, both included."""
Probability = Annotated[float, Field(ge=0, lt=1)]
"""From 0, included, to 1, not included: a dropout, a momentum, a decay."""
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"]
Initialization = Literal["default", "kaiming", "xavier", "orthogonal"]
