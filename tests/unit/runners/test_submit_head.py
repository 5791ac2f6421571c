"""A job server: where it is, what lets us in, and one clear message where it doesn't."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnray.errors import ClusterError
from nnray.runners.submit import Head
from nnray.runners.submit.head import DEFAULT, read_address, read_token, run
from tests.unit.runners.job_server import TOKEN, JobServer, running


@pytest.fixture(scope="module")
def server() -> Iterator[JobServer]:
    with running() as made:
        yield made


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://head:8265", "http://head:8265"),
        ("https://head.example/", "https://head.example"),
        ("head:8265", "http://head:8265"),
        ("http://[::1]:8265", "http://[::1]:8265"),
        ("https://gate/ray/", "https://gate/ray"),
    ],
)
def test_addresses_as_they_are_written(given: str, url: str) -> None:
    assert read_address(given) == url


@pytest.mark.parametrize(
    "given",
    [
        "ray://head:10001",
        "http://",
        "http://head:port",
        "http://head:99999",
        "http://me:secret@head:8265",
        "http://[::1",
        "ftp://head",
    ],
)
def test_what_is_no_address_of_a_job_server_says_what_is(given: str) -> None:
    with pytest.raises(ClusterError, match="http://HEAD:8265") as caught:
        read_address(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, DEFAULT),
        ({"RAY_ADDRESS": "10.0.0.1:6379"}, DEFAULT),
        ({"RAY_ADDRESS": "http://a:1"}, "http://a:1"),
        ({"RAY_ADDRESS": "http://a:1", "RAY_API_SERVER_ADDRESS": "http://b:2"}, "http://b:2"),
    ],
)
def test_the_environment_names_a_head_and_what_is_given_comes_first(
    environment: dict[str, str], url: str
) -> None:
    assert Head.find(environment=environment) == Head(url)
    assert Head.find("http://c:3", environment=environment) == Head("http://c:3")


def test_a_token_is_read_where_ray_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("at home\n")
    (tmp_path / "token").write_text("in a file\n")
    path = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert read_token({}) is None
    assert read_token({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "x"}) is None
    assert read_token({"RAY_AUTH_MODE": "TOKEN"}) == "at home"
    assert read_token(path) == "in a file"
    assert read_token({**path, "RAY_AUTH_TOKEN": " given "}) == "given"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", b"\xff\xfe"])
def test_a_token_that_is_none_is_an_error_before_anyone_is_asked(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ClusterError, match=r"no token: .*token.*RAY_AUTH_TOKEN_PATH"):
        read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})


def test_a_token_is_never_shown() -> None:
    head = Head("http://head:8265", "hidden-token")
    assert "hidden" not in repr(head) + str(head)
    with pytest.raises(ClusterError) as caught:
        Head("http://127.0.0.1:1", "hidden-token").ask("GET", "/api/jobs/")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "expected"),
    [(None, "asks for a token: set RAY_AUTH_MODE=token"), ("wrong", "refuses this token")],
)
def test_whoever_has_no_token_is_told_how_to_get_one(
    server: JobServer, token: str | None, expected: str
) -> None:
    head = Head(server.url, token)
    with pytest.raises(ClusterError, match=expected):
        head.ask("GET", "/api/jobs/")
    with pytest.raises(ClusterError, match=expected):
        head.follow("/api/jobs/x/logs/tail", print)


def test_whoever_has_it_is_let_in(server: JobServer) -> None:
    assert Head(server.url, TOKEN).ask("GET", "/api/jobs/") == []
    assert server.head.ask("GET", "/nothing/here") is None


def test_of_a_traceback_the_last_line_is_told(server: JobServer) -> None:
    with pytest.raises(ClusterError, match=r"answers 500: KeyError: 'x'$"):
        server.head.ask("GET", "/broken")


def test_nobody_there_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(ClusterError, match=r"can't reach the head at .*: Connection refused: see that"):
        Head(url).ask("GET", "/api/jobs/")
    with pytest.raises(ClusterError, match="can't reach the head"):
        Head(url).follow("/api/jobs/x/logs/tail", print)


def test_it_works_where_a_loop_runs_already_as_in_a_notebook(server: JobServer) -> None:
    async def cell() -> object:
        return server.head.ask("GET", "/api/jobs/")

    async def fails() -> None:
        server.head.ask("GET", "/broken")

    assert asyncio.run(cell()) == []
    with pytest.raises(ClusterError):
        asyncio.run(fails())
    assert run(asyncio.sleep(0, "value")) == "value"
