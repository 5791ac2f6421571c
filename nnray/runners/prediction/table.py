"""What workers send back: a row for each input."""

from __future__ import annotations

import pyarrow as pa

SCHEMA = pa.schema([("name", pa.string()), ("problem", pa.string()), ("outputs", pa.list_(pa.float64()))])
"""A row for each input; one with a problem instead for what can't be read; and those of colours changed."""
CONVERTED = "converted"
