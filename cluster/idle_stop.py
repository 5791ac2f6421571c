"""Stops this EC2 instance once its cluster has had nothing to do for a while: the head costs money too.

Ray removes idle workers; nothing removes an idle head. Its dashboard tells whether a driver runs, and
when the last one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_METADATA = "http://169.254.169.254/latest"
_TIMEOUT_S = 10


def last_activity(activities: Mapping[str, Mapping[str, Any]], *, now: float, before: float) -> float:
    """When the cluster was last at work.

    Args:
        activities: What the dashboard says of each component.
        now: The time, in seconds since 1970.
        before: The last time at which it was known to be at work.
    """
    last = before
    for component in activities.values():
        # A component that can't tell counts as at work: better to pay than to stop a run.
        if component["is_active"] != "INACTIVE":
            return now
        last = max(last, min(component.get("last_activity_at") or 0.0, now))
    return last


def ask(address: str) -> dict[str, Any]:
    """What the dashboard says of the cluster's activities."""
    request = urllib.request.Request(f"{address}/api/component_activities")
    token = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if token:
        request.add_header("Authorization", f"Bearer {Path(token).read_text(encoding='utf-8').strip()}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def wait_until_idle(address: str, *, idle_s: float, every_s: float, sleep: Callable[[float], object]) -> None:
    """Return once nothing has run for that long; a head that doesn't answer counts as at work."""
    last = time.time()
    while time.time() - last < idle_s:
        sleep(every_s)
        now = time.time()
        try:
            last = last_activity(ask(address), now=now, before=last)
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            print(f"the dashboard at {address} gives no answer: {error}", flush=True)
            last = now


def stop_this_instance() -> None:
    """Stop the EC2 instance that this runs on; its disk, and so MLflow's record, stays."""
    import boto3

    # IMDSv2: a session's token first.
    token = _read("/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    headers = {"X-aws-ec2-metadata-token": token}
    region = _read("/meta-data/placement/region", headers=headers)
    instance = _read("/meta-data/instance-id", headers=headers)
    print(f"nothing runs: stopping {instance}; ray up starts it again", flush=True)
    boto3.client("ec2", region_name=region).stop_instances(InstanceIds=[instance])


def _read(path: str, *, headers: Mapping[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(_METADATA + path, method=method, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text


def main() -> None:
    """Wait, then stop."""
    parser = argparse.ArgumentParser(description="Stop this EC2 instance once its Ray cluster is idle.")
    parser.add_argument("--minutes", type=float, required=True, help="how long nothing has to run before")
    parser.add_argument("--address", default="http://127.0.0.1:8265", help="of the dashboard")
    arguments = parser.parse_args()
    wait_until_idle(arguments.address, idle_s=60 * arguments.minutes, every_s=60, sleep=time.sleep)
    stop_this_instance()


if __name__ == "__main__":
    main()
