"""What is shipped: what git would, the modules that are named, nothing that runs leave; by git or by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.config import parse
from nnray.errors import ClusterError
from nnray.runners.submit.bundle import pack
from nnray.runners.submit.project import gather, list_files

TREE = {
    ".gitignore": "*.bin\n/data/\n!keep.bin\nsecret.txt\n",
    "jobs/e.yaml": "name: e\n",
    "nets.py": "def tiny(info): ...\n",
    "big.bin": "x",
    "keep.bin": "x",
    "data/one.csv": "1",
    "src/data/two.csv": "2",
    "src/.gitignore": "local.py\n!inner.bin\n",
    "src/local.py": "",
    "src/inner.bin": "x",
    "src/secret.txt": "",
    "src/weird näme.py": "",
    "mlflow.db": "x",
    "mlflow.db-wal": "x",
    "mlruns/1/a": "x",
    "src/__pycache__/a.pyc": "x",
}
SHIPPED = [
    ".gitignore",
    "jobs/e.yaml",
    "keep.bin",
    "nets.py",
    "src/.gitignore",
    "src/data/two.csv",
    "src/inner.bin",
    "src/weird näme.py",
]
Make = Callable[..., Path]


def write(root: Path, tree: dict[str, str]) -> Path:
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def git(root: Path, *words: str) -> None:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", "-C", str(root), *words], check=True, capture_output=True, env={**os.environ, **own}
    )


def experiment(**fields: Any) -> Any:
    return parse({"name": "e", "data": "digits", "model": "mlp", **fields})


@pytest.fixture(params=["git", "by hand"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    root = write(tmp_path / "project", TREE)
    if request.param == "git":
        git(root, "init", "-q")
    return root


def test_what_is_ignored_stays_at_home(project: Path) -> None:
    assert list_files(project) == SHIPPED


def test_git_ships_what_it_tracks_and_not_what_was_removed(tmp_path: Path) -> None:
    root = write(tmp_path / "project", TREE)
    git(root, "init", "-q")
    git(root, "add", "--force", "big.bin", "nets.py")
    (root / "nets.py").unlink()
    assert list_files(root) == sorted({*SHIPPED, "big.bin"} - {"nets.py"})


def test_a_repository_in_the_repository_and_links(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"a.py": ""})
    inner = write(root / "inner", {"b.py": "", "c.bin": "", ".gitignore": "*.bin\n"})
    for folder in (inner, root):
        git(folder, "init", "-q")
    (root / "link.py").symlink_to("a.py")
    (root / "folder").symlink_to("inner")
    (root / "gone").symlink_to("nowhere")
    assert list_files(root) == ["a.py", "inner/.gitignore", "inner/b.py", "link.py"]


def test_the_experiment_goes_along_even_if_ignored_and_runs_never(tmp_path: Path) -> None:
    tree = {"e.yaml": "", "out/x/run.json": "{}", ".gitignore": "e.yaml\n"}
    root = write(tmp_path / "project", tree)
    files = gather(root, root / "e.yaml", experiment=experiment(tracking={"dir": "out"}))
    assert sorted(name for name in files if not name.startswith("nnray/")) == [".gitignore", "e.yaml"]


def test_nnray_goes_along_unless_the_project_has_it(tmp_path: Path) -> None:
    root = write(tmp_path / "project", {"e.yaml": ""})
    files = gather(root, root / "e.yaml", experiment=experiment())
    assert {"nnray/__init__.py", "nnray/cli/__main__.py", "nnray/py.typed"} <= files.keys()
    assert not [name for name in files if name.endswith(".pyc")]
    own = write(tmp_path / "own", {"e.yaml": "", "nnray/__init__.py": "# mine"})
    assert sorted(gather(own, own / "e.yaml", experiment=experiment())) == ["e.yaml", "nnray/__init__.py"]


def test_modules_that_are_named_come_to_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(
        tmp_path / "project", {"jobs/e.yaml": "", "jobs/beside.py": "def net(info, *, width: int = 1): ..."}
    )
    far = write(
        tmp_path / "far",
        {
            "pack/__init__.py": "",
            "pack/deep.py": "def lr(params): ...",
            "pack/skip.bin": "",
            "pack/.gitignore": "*.bin",
        },
    )
    monkeypatch.setattr(sys, "path", [str(far), str(root / "jobs"), *sys.path])
    made = experiment(model="beside:net", optimizer="pack.deep:lr")
    files = gather(root, root / "jobs/e.yaml", experiment=made)
    assert files["beside.py"] == root / "jobs/beside.py"
    assert files["pack/deep.py"] == far / "pack/deep.py"
    assert "pack/skip.bin" not in files
    assert not {"torch/__init__.py", "json/__init__.py"} & files.keys()
    (root / "beside.py").write_text("another")
    with pytest.raises(
        ClusterError, match=r"module 'beside' is .*jobs/beside.py, but the project has another"
    ):
        gather(root, root / "jobs/e.yaml", experiment=made)


def test_the_same_content_gives_the_same_name_wherever_and_whenever(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, {"a.py": "x", "b/c.py": "y"}) for name in ("one", "two"))
    os.utime(two / "a.py", (1, 1))
    (two / "b/c.py").chmod(0o600)
    first, second = ({n: root / n for n in ("a.py", "b/c.py")} for root in (one, two))
    bundle = pack(first)
    assert pack(dict(reversed(second.items()))) == bundle
    assert bundle.name == f"_ray_pkg_{bundle.digest[:40]}.zip"
    (two / "a.py").chmod(0o755)
    assert pack(second).digest != bundle.digest
    with zipfile.ZipFile(BytesIO(pack(second).data)) as archive:
        assert [(i.filename, i.external_attr >> 16) for i in archive.infolist()] == [
            ("a.py", 0o755),
            ("b/c.py", 0o644),
        ]
        assert archive.read("b/c.py") == b"y"


@given(st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=4), min_size=2))
def test_other_content_gives_another_name(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("files")
    for name, data in contents.items():
        (root / name).write_bytes(data)
    files = {name: root / name for name in contents}
    before = pack(files).digest
    first, second = sorted(files)[:2]
    (root / first).write_bytes(contents[first] + b"!")
    assert pack(files).digest != before
    (root / first).write_bytes(contents[first])
    assert pack(files).digest == before
    assert pack({second: files[second]}).digest != before


def test_too_much_is_told_with_the_largest_before_it_is_read(tmp_path: Path) -> None:
    root = write(tmp_path / "p", {f"f{i}": "x" * i * 1000 for i in range(9)})
    (root / "f8").chmod(0)
    files = {path.name: path for path in root.iterdir()}
    with pytest.raises(ClusterError) as caught:
        pack(files, max_bytes=20_000)
    text = str(caught.value)
    assert "the project has 0.0 MiB in 9 files; at most 0.0 MiB can be shipped" in text
    assert [line.split()[-1] for line in text.splitlines()[1:-1]] == ["f8", "f7", "f6", "f5", "f4"]
    assert ".gitignore" in text
    assert "--project" in text


def test_what_cant_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ClusterError, match=r"can't ship .*folder: Is a directory"):
        pack({"folder": tmp_path / "folder"})
