"""Programs that come with the development tools, beside this Python or on the path."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """The path of a program.

    Raises:
        FileNotFoundError: It is not installed.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: it comes with the extra dev")
    return found
