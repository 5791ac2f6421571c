"""Silo mode on nodes of its own for each site: the same bits, and no example leaves where it is.

Two local nodes, each with a folder of data. A run in which the driver reads both is the control: what is
looked for in vain after the first run is found after that one.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nodes import Loopback, Nodes, loopback_nodes

pytestmark = pytest.mark.ray
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CODE = "sites_user_code:"
SIZES = {"north": 40, "south": 70}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes, and where the data are.

    Args:
        nodes: A head without cores, and one for each site.
        canaries: Bytes that stand in the data of each site.
    """

    nodes: Nodes
    canaries: Mapping[str, tuple[bytes, ...]]

    def site(self, name: str, **options: Any) -> dict[str, Any]:
        return {"name": name, "resource": name, "root": str(self.nodes.folder / name), **options}

    def run(self, folder: str, *experiments: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """What came of each, and the node of each site."""
        *_, last = lines = self._driven(folder, *experiments)
        return self._results(lines), json.loads(last.removeprefix("NODES "))

    def killed(self, folder: str, experiment: dict[str, Any]) -> None:
        """Begin a run whose driver does not live to its end."""
        self._driven(folder, experiment, ends=-signal.SIGKILL)

    def resumed(self, folder: str) -> dict[str, Any]:
        """What came of the newest run in a folder, gone on with."""
        (found,) = self._results(self._driven(folder))
        return found

    def _driven(self, folder: str, *experiments: dict[str, Any], ends: int = 0) -> list[str]:
        """What a driver in a folder says, whose experiments are these, or the one that is there."""
        place = self.nodes.folder / folder
        place.mkdir(exist_ok=not experiments)
        (place / "experiments.json").write_text(json.dumps(experiments))
        program = (
            f"import os, runpy, sys; sys.argv[0] = {str(HERE / 'sites_driver.py')!r}; "
            "os.chdir(sys.argv.pop(1)); runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        driver = self.nodes.python(program, str(place), "experiments.json")
        assert driver.stdout is not None
        lines = driver.stdout.read().splitlines()
        assert driver.wait() == ends, lines
        return lines

    def _results(self, lines: list[str]) -> list[dict[str, Any]]:
        return [json.loads(line[7:]) for line in lines if line.startswith("RESULT ")]

    def places_with(self, canary: bytes) -> list[str]:
        """Files and object stores that hold some bytes; the folders of the data are not looked at."""
        own = [self.nodes.folder / name for name in ("north", "south", "all")]
        files = [path for path in self.nodes.folder.rglob("*") if path.is_file() and path.parent not in own]
        kept = [path for path in files if "egress" not in path.parts]
        return [str(path) for path in [*kept, *self._stores()] if canary in path.read_bytes()]

    def _stores(self) -> list[Path]:
        """The shared memory of every node, which has no name any more."""
        found = []
        for host in self.nodes.hosts:
            assert isinstance(host, Loopback)
            alive = [process for process in host._started if process.is_running()]
            family = [child for process in alive for child in process.children(recursive=True)]
            for process in [child for child in family if child.name() == "raylet"]:
                links = list(Path(f"/proc/{process.pid}/fd").iterdir())
                found += [link for link in links if "plasma" in str(link.readlink())]
        assert len(found) >= len(self.nodes.hosts), found
        return found


def write_clinic(folder: Path, name: str, seed: int) -> tuple[bytes, ...]:
    """A clinic's file; bytes that stand nowhere else."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(SIZES[name], 6)).astype(np.float32)
    targets = (inputs[:, 0] + 0.3 * rng.normal(size=SIZES[name]) > 0).astype(np.int64)
    patient = f"CANARY-{name}-{rng.integers(10**9)}"
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{name}.npz", x=inputs, y=targets, names=np.array([patient] * SIZES[name]))
    rows = [inputs[row, 1:5].tobytes() for row in (0, 7, 30)]
    return (*rows, patient.encode(), patient.encode("utf-32-le"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without cores, and a node for each site."""
    with loopback_nodes() as nodes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{HERE / 'user_code'}:{ROOT}")
        canaries = {}
        for seed, name in enumerate(SIZES):
            canaries[name] = write_clinic(nodes.folder / name, name, seed)
            write_clinic(nodes.folder / "all", name, seed)
        nodes.add(cpus=0)
        for name in SIZES:
            nodes.add(cpus=1, resources=json.dumps({name: 1}))
        yield Cluster(nodes, canaries)


def experiment(federated: Mapping[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "name": "clinics",
        "data": {"name": f"{CODE}patients", "validation": 0, "normalize": False, **data},
        "model": {"name": "mlp", "hidden": [8], "dropout": 0.2},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "training": {"batch_size": 10, "device": "cpu"},
        "federated": {"strategy": "scaffold", "rounds": 3, "holdout": 0.2, **federated},
    }


def sited(cluster: Cluster, federated: Mapping[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    return experiment({"sites": [cluster.site(name) for name in SIZES], **(federated or {})}, **data)


def breaks(how: str, client: int, once: str = "") -> dict[str, Any]:
    return {"name": f"{CODE}breaks", "how": how, "client": client, "once": once}


def halts(number: int, once: Path) -> dict[str, Any]:
    return {"name": f"{CODE}halts", "number": number, "once": str(once)}


@pytest.fixture(scope="module")
def apart(cluster: Cluster) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Runs whose sites read their own data; every test looks at some of them."""
    once = str(cluster.nodes.folder / "killed")
    drop = {"on_client_error": "drop", "rounds": 1}
    away = [cluster.site("north"), cluster.site("south") | {"resource": "nowhere"}]
    return cluster.run(
        "apart",
        sited(cluster),
        sited(cluster, {"strategy": breaks("kill", 1, once)}),
        sited(cluster, {"strategy": breaks("extra", 0), **drop}),
        sited(cluster, {"strategy": breaks("raise", 1), "rounds": 1, "on_client_error": "fail"}),
        sited(cluster, broken="south"),
        sited(cluster, {"rounds": 1}, normalize=True),
        experiment({"sites": away}),
    )


@pytest.fixture(scope="module")
def before(cluster: Cluster, apart: Any) -> list[str]:
    """Where data of the sites are, before anyone but the sites has read any."""
    return [
        place for words in cluster.canaries.values() for word in words for place in cluster.places_with(word)
    ]


@pytest.fixture(scope="module")
def together(cluster: Cluster, before: Any) -> dict[str, Any]:
    """The ordinary run: the driver reads all, and clients are its natural groups."""
    options = {"partition": "natural", "workers": 1}
    return cluster.run("together", experiment(options, root=str(cluster.nodes.folder / "all")))[0][0]


def lines(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    """The egress log of a site, all runs."""
    logs = sorted((cluster.nodes.folder / name / "egress").glob("*.jsonl"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def test_the_same_bits_as_clients_of_one_data_set(apart: Any, together: dict[str, Any]) -> None:
    result = apart[0][0]
    assert result["sha256"] == together["sha256"]
    assert result["metrics"] == together["metrics"]
    assert "client_accuracy" in result["metrics"]


def test_nothing_of_a_site_is_anywhere_else(cluster: Cluster, before: list[str], together: Any) -> None:
    assert before == []
    after = [place for word in cluster.canaries["north"][:1] for place in cluster.places_with(word)]
    assert after, "the control finds nothing: nor would it if a site's data were there"


def test_each_site_is_read_on_its_own_node_alone(cluster: Cluster, apart: Any) -> None:
    for name in SIZES:
        readers = (cluster.nodes.folder / name / "readers").read_text().split()
        assert set(readers) == {apart[1][name]}, name


def test_all_that_arrived_is_in_the_logs(cluster: Cluster, apart: Any) -> None:
    sent = (cluster.nodes.folder / "apart" / "payloads.bin").read_bytes()
    arrived = set()
    while sent:
        length = int.from_bytes(sent[:8], "little")
        arrived.add(hashlib.sha256(sent[8 : 8 + length]).hexdigest())
        sent = sent[8 + length :]
    logged = {line["sha256"] for name in SIZES for line in lines(cluster, name) if line["sent"]}
    assert arrived <= logged
    kinds = {line["kind"] for name in SIZES for line in lines(cluster, name)}
    assert kinds == {"about", "sums", "ready", "update", "measures", "failure"}


def test_a_site_whose_process_is_killed_begins_anew(apart: Any) -> None:
    killed = apart[0][1]
    assert killed["sha256"] == apart[0][0]["sha256"]
    assert len(killed["faults"]) == 1
    assert "site south was lost" in killed["faults"][0]


def test_a_run_whose_driver_is_killed_goes_on_with_the_same_bits(
    cluster: Cluster, apart: Any, together: dict[str, Any]
) -> None:
    """In the middle of round 2 of 3: the sites begin anew, and a site whose data have changed is refused."""
    once, folder = cluster.nodes.folder / "halted", cluster.nodes.folder / "east"
    write_clinic(folder, "north", 0)
    sites = [cluster.site("north") | {"root": str(folder)}, cluster.site("south")]
    cluster.killed("halting", experiment({"sites": sites, "strategy": halts(2, once)}))
    write_clinic(folder, "south", 1)
    error = cluster.resumed("halting")["error"]
    assert error.startswith("DataError: ")
    assert "the sites' examples are not as many" in error
    (folder / "south.npz").unlink()
    result = cluster.resumed("halting")
    assert result["sha256"] == apart[0][0]["sha256"]
    assert result["metrics"] == apart[0][0]["metrics"]
    assert (result["rounds"], result["faults"]) == ([1, 2, 3], [])
    log = folder / "egress" / f"{result['run']}-north.jsonl"
    sent = [json.loads(line) for line in log.read_text().splitlines()]
    first, second, *others = [line["round"] for line in sent if line["kind"] == "update"]
    assert (first, second) == (1, 2)
    assert others in ([2, 3], [1, 2, 3]), "round 1 again where its checkpoint was still being written"


def test_an_update_with_more_in_it_is_refused(cluster: Cluster, apart: Any) -> None:
    (failure,) = apart[0][2]["failures"]
    assert failure["client"] == 0
    assert "the gate of site north lets update not out" in failure["error"]
    assert "vector.extra is not declared; weight.extra is not declared" in failure["error"]
    (line,) = (line for line in lines(cluster, "north") if not line["sent"])
    assert line["bytes"] == 0
    assert "vector.extra" in line["names"]


def test_a_site_that_raises_is_named_without_its_words(cluster: Cluster, apart: Any) -> None:
    training, reading = apart[0][3]["error"], apart[0][4]["error"]
    assert "ClientFailure" in training
    assert "client 1: RuntimeError at site south: the log there has the rest" in training
    assert "CANARY" not in training
    assert reading == "DataError: UserCodeError at site south: the log there has the rest"
    logs = [path.read_text() for path in (cluster.nodes.folder / "south" / "egress").glob("*.errors.log")]
    assert any("CANARY-of-client-1" in text for text in logs)
    assert any(cluster.canaries["south"][-2].decode() in text for text in logs)


def test_statistics_are_those_of_all_sites(apart: Any) -> None:
    assert set(apart[0][5]["metrics"]) >= {"client_accuracy", "train_loss"}


def test_a_site_without_a_node_is_refused_at_once(apart: Any) -> None:
    error = apart[0][6]["error"]
    assert error.startswith("ClusterError: site south: no node carries the resource 'nowhere'")
    assert "1 CPU, 1 north" in error


def test_a_site_whose_node_is_lost_has_failed_and_the_others_go_on(cluster: Cluster, together: Any) -> None:
    """Comes last: the node does not come back."""
    dropped = {"strategy": breaks("node", 1), "on_client_error": "drop", "rounds": 2}
    ((result,), _) = cluster.run("lost", sited(cluster, dropped))
    assert [(failure["client"], failure["fate"]) for failure in result["failures"]] == [(1, "dropped")] * 2
    assert all(failure["error"] == "site south is away" for failure in result["failures"])
    assert any("site south was lost" in fault for fault in result["faults"])
    assert result["metrics"]["updates"] == 1
    assert any("site south measured nothing" in fault for fault in result["faults"])
