"""The process behind ``Courier``: reads requests, delivers entries to MLflow, answers.

A line of JSON each. ``open`` names a store, and has MLflow imported while the caller does other things;
an entry, or ``answers``, is carried out in the store's own thread and answered under its ``id``.
When the caller ends, this process does at once, in the middle of what it was doing, as the
caller's own thread would have.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from nnray.tracking.client import prepare
from nnray.tracking.mlflow_store import MlflowStore
from nnray.tracking.reasons import reason
from nnray.tracking.spool import Entry, find_below
from nnray.tracking.tracker import ModelRecord
from nnray.tracking.writer import Refused

_NICENESS = 5
Send = Callable[[Mapping[str, Any]], None]
"""Sends an answer."""


class Desk:
    """One store, and the thread that delivers to it.

    Args:
        address: ``uri``, ``experiment``, ``artifacts``, ``root``.
        send: Takes the answers.
    """

    def __init__(self, address: Mapping[str, Any], send: Send) -> None:
        root = address["root"]
        find = Path if root is None else partial(find_below, Path(root))
        self._store = MlflowStore(
            address["uri"], address["experiment"], artifacts=address["artifacts"], find=find
        )
        self._send = send
        self._requests: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, request: Mapping[str, Any] | None) -> None:
        """Take a request; None ends the thread once all before it is done."""
        self._requests.put(request)

    def _work(self) -> None:
        prepare()
        while (request := self._requests.get()) is not None:
            self._send({**self._answer(request), "id": request["id"]})

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if "answers" in request:
            return {"result": self._store.answers()}
        try:
            result = self._store(Entry(request["kind"], request["run"], request["body"]))
        except Refused as error:
            return {"refused": str(error)}
        except Exception as error:  # noqa: BLE001 (whatever a store raises, the caller tries again)
            return {"failed": reason(error)}
        return {"model": asdict(result)} if isinstance(result, ModelRecord) else {"result": result}


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Carry out requests until there are no more."""
    lock, desks = threading.Lock(), dict[int, Desk]()

    def send(answer: Mapping[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()

    for line in requests:
        request = json.loads(line)
        number = request["store"]
        if "open" in request:
            os.environ.clear()
            os.environ.update(request["environment"])
            desks[number] = Desk(request["open"], send)
        elif "close" in request:
            desks.pop(number).put(None)
        elif number in desks:
            desks[number].put(request)
        else:  # a caller that gave up waiting has closed it meanwhile
            send({"failed": "the tracker is closed", "id": request["id"]})


def main() -> None:
    """Serve the pipes; what libraries print goes nowhere, and training comes first."""
    os.nice(_NICENESS)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)
    os._exit(0)


if __name__ == "__main__":
    main()
