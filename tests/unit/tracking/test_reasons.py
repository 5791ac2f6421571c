"""What is said of an error that libraries have wrapped."""

from __future__ import annotations

import socket

import pytest
import requests

from nnray.tracking.reasons import reason


def wrapped(inner: BaseException, outer: Exception) -> Exception:
    try:
        try:
            raise inner
        except BaseException as error:
            raise outer from error
    except type(outer) as error:
        return error


def test_a_refused_connection_under_three_layers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(requests.ConnectionError) as caught:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    assert len(str(caught.value)) > 100
    assert reason(wrapped(caught.value, RuntimeError("API request failed"))) == "Connection refused"


def test_an_error_of_its_own_keeps_its_first_line() -> None:
    assert reason(ValueError("first\nsecond")) == "ValueError: first"
    assert reason(ValueError()) == "ValueError: no message"
    assert len(reason(ValueError("x" * 9999))) == 300


def test_a_time_out_is_one() -> None:
    assert reason(wrapped(TimeoutError(), RuntimeError("wrapped"))) == "no answer in time"


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert reason(one) == "ValueError: one"
