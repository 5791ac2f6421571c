"""From what machines tell of themselves to what is wrong with them, and what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nnray.runners.doctor.finding import Finding, Verdict
from nnray.runners.doctor.node import Facts

_GIB = 2**30
LOW_DISK, NO_DISK = 10 * _GIB, 1 * _GIB
LOW_MEMORY, NO_MEMORY = 4 * _GIB, 1 * _GIB
LOW_SHM = 1 * _GIB
LOW_FILES = 4096
CLOCK_S = 1.0
"""Clocks further apart than this mix up the order of what is recorded."""


def judge(machines: Sequence[Facts]) -> list[Finding]:
    """What the facts of one machine, or of all of a cluster's, amount to.

    Args:
        machines: At least one.
    """
    findings = [versions(machines), gpus(machines)]
    findings += _each("disk", machines, _disk)
    findings += _each("memory", machines, _memory)
    findings += _each("limits", machines, _limits)
    if len(machines) > 1:
        findings += _each("name", machines, _name)
    return findings


def versions(machines: Sequence[Facts]) -> Finding:
    """Whether the same is installed everywhere."""
    wrong = []
    for package in sorted({name for facts in machines for name in facts.versions}):
        by_version = defaultdict(list)
        for facts in machines:
            by_version[facts.versions.get(package, "none")].append(facts.name)
        if len(by_version) > 1:
            told = ", ".join(
                f"{version} on {' and '.join(names)}" for version, names in sorted(by_version.items())
            )
            wrong.append(f"{package} {told}")
    if wrong:
        return Finding("versions", "problem", f"{'; '.join(wrong)}: run one image on all nodes")
    told = ", ".join(f"{name} {version}" for name, version in machines[0].versions.items())
    return Finding("versions", "ok", told)


def gpus(machines: Sequence[Facts]) -> Finding:
    """Whether torch can use the GPUs that are there, and Ray hands them out."""
    wrong = []
    for facts in machines:
        if facts.gpus_usable < max(facts.gpus_there, facts.gpus_given):
            wrong.append(
                f"{facts.name} shows {facts.gpus_there} and hands out {facts.gpus_given:g}, torch can use "
                f"{facts.gpus_usable}: install a torch for this driver, and give the container its GPUs"
            )
        elif facts.address and facts.gpus_given < facts.gpus_there:
            wrong.append(
                f"{facts.name} has {facts.gpus_there}, Ray hands out {facts.gpus_given:g}: start it with "
                "--num-gpus"
            )
    if wrong:
        return Finding("gpus", "problem", "; ".join(wrong))
    total = sum(facts.gpus_usable for facts in machines)
    return Finding(
        "gpus", "ok", f"{total or 'none'}{' usable' if total else ''}, {sum(f.cpus for f in machines)} cores"
    )


def clocks(offsets: Mapping[str, tuple[float, float]]) -> Finding:
    """Whether all clocks agree.

    Args:
        offsets: Name of a machine to how far its clock is ahead, and how far that may be wrong, in seconds.
    """
    apart = {name: ahead for name, (ahead, unsure) in offsets.items() if abs(ahead) > CLOCK_S + unsure}
    if apart:
        told = ", ".join(f"{name} by {ahead:+.1f} s" for name, ahead in sorted(apart.items()))
        return Finding("clock", "problem", f"not the head's time: {told}: run an NTP client on all nodes")
    return Finding("clock", "ok", f"{len(offsets)} within {CLOCK_S:g} s")


def ports(failures: Sequence[str], *, tried: int) -> Finding:
    """Whether all machines reach each other.

    Args:
        failures: ``from to: why`` each.
        tried: How many connections were tried.
    """
    if failures:
        told = "; ".join(failures[:5]) + (f"; and {len(failures) - 5} more" if len(failures) > 5 else "")
        return Finding("ports", "problem", f"{told}: open all TCP ports between the nodes")
    return Finding("ports", "ok", f"{tried} connections between nodes")


def _each(what: str, machines: Sequence[Facts], look: object) -> Iterator[Finding]:
    assert callable(look)
    told: list[tuple[Facts, Verdict, str]] = [(facts, *look(facts)) for facts in machines]
    bad = [
        Finding(what, verdict, f"{facts.name}: {text}") for facts, verdict, text in told if verdict != "ok"
    ]
    if bad:
        yield from bad
    else:
        least = "at least " if len(machines) > 1 else ""
        yield Finding(what, "ok", f"{least}{min((text for _, _, text in told), key=_number)}")


def _number(text: str) -> float:
    first = text.split()[0]
    return float(first) if first.replace(".", "").isdigit() else 0.0


def _disk(facts: Facts) -> tuple[Verdict, str]:
    told = f"{facts.disk_bytes / _GIB:.1f} GiB free in the temporary folder"
    if facts.disk_bytes < LOW_DISK:
        verdict: Verdict = "problem" if facts.disk_bytes < NO_DISK else "warning"
        return verdict, f"{told}: make room, or point Ray's --temp-dir elsewhere"
    return "ok", told


def _memory(facts: Facts) -> tuple[Verdict, str]:
    told = f"{facts.memory_bytes / _GIB:.1f} GiB of memory free"
    if facts.memory_bytes < LOW_MEMORY:
        return (
            "problem" if facts.memory_bytes < NO_MEMORY else "warning",
            f"{told}: Ray ends workers when it is full",
        )
    if facts.shm_bytes < LOW_SHM:
        return (
            "warning",
            f"{facts.shm_bytes / _GIB:.1f} GiB in /dev/shm: give the container more (--shm-size)",
        )
    return "ok", told


def _limits(facts: Facts) -> tuple[Verdict, str]:
    if 0 <= facts.open_files < LOW_FILES:
        return "warning", f"{facts.open_files} open files a process: raise it (ulimit -n 65536)"
    return "ok", f"{facts.open_files if facts.open_files >= 0 else 'any number of'} open files a process"


def _name(facts: Facts) -> tuple[Verdict, str]:
    if facts.resolves_to.startswith("127.") and not facts.address.startswith("127."):
        advice = "correct /etc/hosts, or set GLOO_SOCKET_IFNAME"
        return "warning", f"its own name is {facts.resolves_to}, which others can't reach: {advice}"
    return "ok", "names stand for addresses that others reach"
