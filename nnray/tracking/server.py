"""Whether a store that is not a file answers, and if not, whether there is hope.

A refused connection, a timeout, an unknown host, an answer of 500 or more: the store is away, and records
can wait for it. A store that lets nobody in, or that is no MLflow, will not take them tomorrow either.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

from nnray.errors import TrackingError
from nnray.tracking.client import make_client, set_environment
from nnray.tracking.reasons import reason

if TYPE_CHECKING:
    from requests import Response

_SEARCH = "/api/2.0/mlflow/experiments/search"
_TOO_MANY = 429
_SEE = "see that the store is running"
_AWAY = re.compile(
    r"refused|timed? ?out|unreachable|no route|reset by peer|aborted|disconnected|name resolution|"
    r"failed to resolve|not known|could not translate|starting up|shutting down|can't connect|"
    r"too many (clients|connections)|closed the connection",
    re.IGNORECASE,
)


def look(uri: str, *, timeout_s: float) -> str:
    """Ask a store for an experiment, for so long at most.

    Returns:
        Why it is away; empty if it answers.

    Raises:
        TrackingError: There is no use in waiting for it.
    """
    set_environment()
    ended: list[str | TrackingError] = []

    def attempt() -> None:
        try:
            ended.append(_ask(uri))
        except TrackingError as error:
            ended.append(error)
        except Exception as error:  # noqa: BLE001 - whatever MLflow or a driver raises is judged
            ended.append(_judged(uri, error))

    thread = threading.Thread(target=attempt, name="nnray-tracking-check", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not ended:
        return f"{hidden(uri)}: no answer within {timeout_s:g} s; {_SEE}"
    if isinstance(ended[0], TrackingError):
        raise ended[0]
    return ended[0]


def hidden(uri: str) -> str:
    """A URI without the password in it."""
    return re.sub(r"//([^:/@]+):[^@/]+@", r"//\1:***@", uri)


def _ask(uri: str) -> str:
    client = make_client(uri)
    if not uri.startswith(("http:", "https:")):
        client.search_experiments(max_results=1)
        return ""
    from mlflow.utils.rest_utils import http_request

    credentials = client._tracking_client.store.get_host_creds()
    options = {"json": {"max_results": 1}, "max_retries": 0, "raise_on_status": False}
    return _read(uri, http_request(credentials, _SEARCH, "POST", **options))  # type: ignore[no-untyped-call]


def _read(uri: str, response: Response) -> str:
    """What an answer means."""
    status, said = response.status_code, " ".join(response.text.split())[:200]
    if status >= 500 or status == _TOO_MANY:
        return f"{hidden(uri)} answers {status}: {said or 'nothing more'}; {_SEE}"
    if status in (401, 403):
        raise TrackingError(
            f"{hidden(uri)} does not let you in: {status}: {said or 'nothing more'}; "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if status != 200 or not _is_object(response.text):
        raise TrackingError(
            f"{hidden(uri)} is not an MLflow server: it answers {status}: {said or 'nothing more'}; "
            "give the address of one with tracking.uri"
        )
    return ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _judged(uri: str, error: Exception) -> str | TrackingError:
    why = reason(error).replace(uri, hidden(uri))
    text = f"{hidden(uri)} can't be used: {why}; {_SEE} and that you may write"
    is_away = _AWAY.search(str(error)) and "certificate" not in str(error).lower()
    return text if is_away else TrackingError(text)
