"""What a client is told when a request can't be answered: a status and one sentence, never a traceback."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class Refusal(Exception):
    """A request that is not answered as it was asked.

    Args:
        status: Of the answer: 4xx for the client's mistake, 5xx for the model's or ours.
        sentence: What is wrong, and what would be right.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        self.status, self.sentence = status, sentence
        super().__init__(status, sentence)

    def __str__(self) -> str:
        return f"{self.status.value}: {self.sentence}"


def bad_request(sentence: str) -> Refusal:
    """The refusal of a body that can be read, but not understood."""
    return Refusal(HTTPStatus.BAD_REQUEST, sentence)


def kind(value: Any) -> str:
    """What a value of JSON is called in a message."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS = {
    str: "a string",
    bool: "true or false",
    type(None): "null",
    dict: "an object",
    list: "a list",
    int: "a number",
    float: "a number",
}
