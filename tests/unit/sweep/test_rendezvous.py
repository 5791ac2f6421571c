"""Where ranks meet: two processes, met over the address they are told, twice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nnray.runners.sweep.rendezvous import backend, interface
from tests.conftest import ROOT

TWO = """
import os, subprocess, sys
import torch, torch.distributed as dist
from nnray.runners.sweep.rendezvous import Meeting, Rendezvous, enter, leave
address = "127.0.0.1"
if len(sys.argv) > 1:
    ports = iter(sys.stdin)
    rank = lambda number: enter(Meeting(address, int(next(ports)), 2, "gloo", 60.0), 1, address=address)
else:
    other = subprocess.Popen([sys.executable, __file__, "other"], stdin=subprocess.PIPE, text=True)
    room = Rendezvous(address, size=2, gpus=0, timeout_s=60.0)
    def rank(number):
        meeting = room.call()
        other.stdin.write(f"{meeting.port}\\n"); other.stdin.flush()
        room.enter(meeting)
for number in range(3):
    rank(number)
    assert os.environ["GLOO_SOCKET_IFNAME"] and os.environ["LOCAL_RANK"] == "0"
    sums = torch.tensor([dist.get_rank() + 1.0])
    dist.all_reduce(sums)
    assert float(sums) == 3.0 and dist.get_world_size() == 2
    if number < 2:
        leave()
        assert not dist.is_initialized()
        leave()
if len(sys.argv) > 1:
    sys.exit(leave())
try:
    dist.all_reduce(sums)
    print("nobody noticed")
except RuntimeError:
    print("noticed", other.wait())
"""


def test_ranks_meet_again_and_one_that_leaves_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "two.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.split() == ["noticed", "0"], done.stderr


def test_the_interface_of_every_address_is_found() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family == socket.AF_INET:
                assert interface(address.address) == name


def test_an_address_of_another_machine_has_no_interface_here() -> None:
    assert interface("203.0.113.7") is None


@pytest.mark.parametrize(
    ("gpus", "there", "name"),
    [(0, True, "gloo"), (0.5, True, "gloo"), (1, True, "cpu:gloo,cuda:nccl"), (2, False, "gloo")],
)
def test_nccl_is_for_whole_gpus(gpus: float, there: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert backend(gpus) == name
