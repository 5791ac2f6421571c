"""A store that can't be asked for a model is said in words, and none is made by asking."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.errors import RunError, TrackingError
from nnray.tracking.stored import find_stored


@pytest.mark.parametrize("reference", ["digits", "digits@champion", "digits/3", "0" * 32, "m-" + "0" * 32])
def test_a_store_that_is_not_there_is_said_and_not_made(tmp_path: Path, reference: str) -> None:
    with pytest.raises(RunError, match=r"there is no store sqlite:.*none\.db; train a model first"):
        find_stored(reference, uri=f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a data base, but a text that is long enough to be looked at")
    with pytest.raises(TrackingError, match=r"x\.db can't be asked for 'digits'"):
        find_stored("digits", uri=f"sqlite:///{tmp_path}/x.db")
