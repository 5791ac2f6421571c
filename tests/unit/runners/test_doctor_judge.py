"""From facts to findings: what is well is said in a line, what isn't names the machine and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.runners.doctor.finding import Finding
from nnray.runners.doctor.judge import (
    CLOCK_S,
    LOW_DISK,
    LOW_FILES,
    LOW_MEMORY,
    LOW_SHM,
    NO_DISK,
    NO_MEMORY,
    clocks,
    judge,
    ports,
)
from nnray.runners.doctor.node import Facts

GOOD = Facts(
    host="a",
    address="10.0.0.1",
    versions={"python": "3.11.7", "ray": "2.60.0"},
    cpus=4,
    memory_bytes=2 * LOW_MEMORY,
    shm_bytes=2 * LOW_SHM,
    disk_bytes=2 * LOW_DISK,
    resolves_to="10.0.0.1",
    open_files=65_536,
)
OTHER = replace(GOOD, host="b", address="10.0.0.2", resolves_to="10.0.0.2")


def found(what: str, *machines: Facts) -> Finding:
    (one,) = [finding for finding in judge(machines) if finding.what == what]
    return one


def test_a_good_cluster_has_a_line_for_everything() -> None:
    findings = judge([GOOD, OTHER])
    assert {finding.verdict for finding in findings} == {"ok"}
    assert [finding.what for finding in findings] == ["versions", "gpus", "disk", "memory", "limits", "name"]
    assert found("versions", GOOD).text == "python 3.11.7, ray 2.60.0"
    assert found("gpus", GOOD, OTHER).text == "none, 8 cores"
    assert found("disk", GOOD, replace(OTHER, disk_bytes=LOW_DISK)).text.startswith("at least 10.0 GiB")


@pytest.mark.parametrize("versions", [{"python": "3.12.1", "ray": "2.60.0"}, {"python": "3.11.7"}])
def test_versions_that_differ_name_who_has_which(versions: dict[str, str]) -> None:
    finding = found("versions", GOOD, replace(OTHER, versions=versions), replace(GOOD, host="c"))
    assert finding.verdict == "problem"
    assert "b (10.0.0.2)" in finding.text
    assert "a (10.0.0.1) and c (10.0.0.1)" in finding.text
    assert finding.text.endswith("run one image on all nodes")


@pytest.mark.parametrize(
    ("there", "usable", "given", "expected"),
    [
        (2, 0, 2.0, "torch can use 0: install a torch for this driver"),
        (0, 0, 1.0, "hands out 1, torch can use 0"),
        (2, 2, 0.0, "Ray hands out 0: start it with --num-gpus"),
        (2, 1, 2.0, "torch can use 1"),
    ],
)
def test_gpus_that_no_one_can_use_are_a_problem(there: int, usable: int, given: float, expected: str) -> None:
    machine = replace(OTHER, gpus_there=there, gpus_usable=usable, gpus_given=given)
    finding = found("gpus", GOOD, machine)
    assert finding.verdict == "problem"
    assert expected in finding.text
    assert "b (10.0.0.2)" in finding.text
    assert "a (10.0.0.1)" not in finding.text


def test_gpus_that_are_used_are_counted() -> None:
    machine = replace(OTHER, gpus_there=2, gpus_usable=2, gpus_given=2.0)
    assert found("gpus", machine, machine, GOOD).text == "4 usable, 12 cores"
    alone = replace(machine, address="", gpus_given=0.0)  # no Ray here that could hand them out
    assert found("gpus", alone).verdict == "ok"


@pytest.mark.parametrize(
    ("what", "facts", "verdict", "expected"),
    [
        ("disk", {"disk_bytes": LOW_DISK - 1}, "warning", "make room"),
        ("disk", {"disk_bytes": NO_DISK - 1}, "problem", "make room"),
        ("memory", {"memory_bytes": LOW_MEMORY - 1}, "warning", "Ray ends workers"),
        ("memory", {"memory_bytes": NO_MEMORY - 1}, "problem", "Ray ends workers"),
        ("memory", {"shm_bytes": LOW_SHM - 1}, "warning", "--shm-size"),
        ("limits", {"open_files": LOW_FILES - 1}, "warning", "ulimit -n"),
        ("name", {"resolves_to": "127.0.1.1"}, "warning", "GLOO_SOCKET_IFNAME"),
    ],
)
def test_too_little_names_the_machine_and_what_to_do(
    what: str, facts: dict[str, Any], verdict: str, expected: str
) -> None:
    finding = found(what, GOOD, replace(OTHER, **facts))
    assert finding.verdict == verdict
    assert finding.text.startswith("b (10.0.0.2): ")
    assert expected in finding.text


def test_no_limit_is_no_problem_and_one_machine_needs_no_name() -> None:
    assert found("limits", replace(GOOD, open_files=-1)).verdict == "ok"
    assert "name" not in {finding.what for finding in judge([replace(GOOD, resolves_to="127.0.0.1")])}


@given(ahead=st.floats(-100, 100), unsure=st.floats(0, 10))
def test_a_clock_is_wrong_only_if_it_must_be(ahead: float, unsure: float) -> None:
    finding = clocks({"a": (0.0, 0.0), "b": (ahead, unsure)})
    assert (finding.verdict == "problem") == (abs(ahead) > CLOCK_S + unsure)
    assert ("b by" in finding.text) == (finding.verdict == "problem")


def test_ports_name_the_first_that_are_shut() -> None:
    assert ports([], tried=4) == Finding("ports", "ok", "4 connections between nodes")
    finding = ports([f"a to {n}: refused" for n in range(7)], tried=49)
    assert finding.verdict == "problem"
    assert "a to 4: refused; and 2 more: open all TCP ports" in finding.text
    assert "a to 5" not in finding.text


def test_a_finding_in_words_and_for_scripts() -> None:
    finding = Finding("clock", "ok", "2 within 1 s")
    assert str(finding) == "ok       clock     2 within 1 s"
    assert Finding(**finding.to_dict()) == finding
