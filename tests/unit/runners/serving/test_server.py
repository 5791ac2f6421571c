"""Over a real socket: no request is lost, also not at the end; a port that is taken is said so."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.errors import ConfigError
from nnray.runners.serving.app import Application, Limits
from nnray.runners.serving.engine import Engine
from nnray.runners.serving.server import address, listen, make_server
from tests.unit.runners.serving.asgi import IMAGES, TABLE, application, logits


@contextlib.contextmanager
def served(app: Application) -> Iterator[tuple[str, threading.Event]]:
    """The address of an application that is served in a thread, and the event that ends it."""
    listener, stop = listen("127.0.0.1", 0), threading.Event()
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})

    def end() -> None:
        stop.wait()
        server.should_exit = True

    ender = threading.Thread(target=end)
    thread.start()
    ender.start()
    try:
        yield address(listener), stop
    finally:
        stop.set()
        ender.join()
        thread.join()
        listener.close()


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
    """What a plain client sees."""
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return answered.status, json.loads(answered.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_200_requests_from_8_clients_lose_none_and_mix_none_up() -> None:
    draw = random.Random(0)
    requests = [[[draw.random() for _ in range(3)] for _ in range(draw.randrange(1, 9))] for _ in range(200)]
    with served(application()) as (url, _), ThreadPoolExecutor(8) as clients:
        bodies = [json.dumps({"inputs": rows}).encode() for rows in requests]
        answers = list(clients.map(lambda body: post(url, body), bodies))
    for rows, (status, answered) in zip(requests, answers, strict=True):
        assert status == 200
        expected = torch.tensor(logits(TABLE, rows))
        torch.testing.assert_close(torch.tensor(answered["predictions"]), expected, rtol=0, atol=1e-6)


def test_mlflows_own_client_is_served() -> None:
    import numpy as np
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    rows = np.array([[0.1, 0.2, 0.3], [3.0, 2.0, 1.0]], dtype=np.float32)
    with served(application()) as (url, _):
        host, _, port = url.removeprefix("http://").partition(":")
        client = ScoringServerClient(host, int(port))
        client.wait_server_ready(timeout=30)
        assert client.get_version()
        for sent in (rows, pd.DataFrame(rows, columns=list("abc"))):
            given = client.invoke(sent).get_predictions()
            assert np.allclose(given.to_numpy(), logits(TABLE, rows), atol=1e-6)


def test_a_huge_body_is_413_for_a_client_that_sends_it_all() -> None:
    with served(application(IMAGES, limits=Limits(body_bytes=2**16))) as (url, _):
        status, answered = post(url, b"[" + b"0," * 2**23)
        assert status == 413
        assert f"the body has {2**24 + 1} bytes" in answered["error"]
        assert post(url, b'{"inputs": [[[[0, 0], [0, 1]]]]}')[0] == 200


def test_a_body_in_chunks_is_counted_too() -> None:
    with served(application(limits=Limits(body_bytes=1000))) as (url, _):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/invocations", (b"x" * 100 for _ in range(20)), headers)
            assert connection.getresponse().status == 413


class _Held(nn.Module):
    """Says when it has begun, and waits to be let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def forward(self, inputs: Tensor) -> Tensor:
        self.begun.set()
        assert self.go.wait(60)
        return inputs[:, :2]


def test_a_request_in_flight_is_answered_after_the_end_is_asked_for() -> None:
    module = _Held()
    app = Application(Engine(module), TABLE)
    with ThreadPoolExecutor(1) as client:
        with served(app) as (url, stop):
            waiting = client.submit(post, url, b'{"inputs": [[1, 2, 3]]}')
            assert module.begun.wait(60)
            stop.set()
            # The door is shut before the last request is answered.
            host, _, port = url.removeprefix("http://").partition(":")
            while _is_open(host, int(port)):
                pass
            module.go.set()
        assert waiting.result() == (200, {"predictions": [[1.0, 2.0]]})


def _is_open(host: str, port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port), timeout=60):
        return True
    return False


def test_a_port_that_is_taken_is_named_with_one_that_is_free() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"serve: port: {port} on 127.0.0.1 can't be used: .*; free: \d+"
        ):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("256.0.0.1", 0), ("192.0.2.1", 0)])
def test_an_address_that_is_none_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match=r"can't be used"):
        listen(host, port)


def test_an_address_of_version_6_is_written_in_brackets() -> None:
    with contextlib.closing(listen("::1", 0)) as listener:
        assert address(listener) == f"http://[::1]:{listener.getsockname()[1]}"
