"""A project as one file: the same content gives the same name, whatever the machine and the hour."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnray.errors import ClusterError

MAX_BYTES = 100 * 2**20
"""Of what is shipped, before it is compressed: Ray keeps it in the head's memory."""
_SHOWN = 5
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is uploaded.

    Args:
        digest: SHA-256 of names, permissions and content.
        data: A zip file.
    """

    digest: str
    data: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """As Ray stores it."""
        return f"_ray_pkg_{self.digest[:40]}.zip"


def pack(files: Mapping[str, Path], *, max_bytes: int = MAX_BYTES) -> Bundle:
    """Put files into one.

    Args:
        files: Name in the bundle to file.
        max_bytes: The most that it may hold; checked before anything is read.

    Raises:
        ClusterError: It is too much, with the largest files; or a file can't be read.
    """
    digest, out = hashlib.sha256(), io.BytesIO()
    try:
        _check_size(files, max_bytes)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for name, path in sorted(files.items()):
                data, mode = path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644
                about = zipfile.ZipInfo(name, _LONG_AGO)
                about.external_attr, about.compress_type = mode << 16, zipfile.ZIP_DEFLATED
                archive.writestr(about, data)
                digest.update(f"{name}\0{mode}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    except OSError as error:
        raise ClusterError(
            f"can't ship {error.filename}: {error.strerror}: ignore it, or allow reading it"
        ) from error
    return Bundle(digest.hexdigest(), out.getvalue())


def _check_size(files: Mapping[str, Path], max_bytes: int) -> None:
    sizes = {name: path.stat().st_size for name, path in files.items()}
    total = sum(sizes.values())
    if total <= max_bytes:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
    shown = "".join(f"\n  {_mib(sizes[name]):>10}  {name}" for name in largest)
    raise ClusterError(
        f"the project has {_mib(total)} in {len(sizes)} files; at most {_mib(max_bytes)} can be shipped. The "
        f"largest:{shown}\nname what the job doesn't need in .gitignore, keep data where all nodes reach it, "
        "or give a smaller folder with --project"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
