"""What the README and the documentation promise, read out of their fenced blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"#+ (?P<name>[\w./-]+\.(?:yaml|py))\n")
_FAILS = re.compile(r"#\s*exits (?P<code>\d+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Args:
        language: As it stands behind the fence.
        body: Its text.
    """

    language: str
    body: str

    @property
    def file(self) -> str | None:
        """The file that the block is, where its first line says so."""
        title = _TITLE.match(self.body)
        return title["name"] if title else None


@dataclass(frozen=True, slots=True)
class Command:
    """A line behind a prompt, and what the text shows below it.

    Args:
        words: The command and its arguments.
        code: The exit code that the text promises.
        output: Lines that the text shows.
    """

    words: tuple[str, ...]
    code: int
    output: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(match["language"], match["body"]) for match in _FENCE.finditer(text)]


def commands(text: str) -> Iterator[Command]:
    """The commands of a page's console blocks, in order."""
    for block in blocks(text):
        if block.language == "console":
            for chunk in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
                line, *output = chunk.splitlines()
                fails = _FAILS.search(line)
                code = int(fails["code"]) if fails else 0
                yield Command(tuple(shlex.split(line, comments=True)), code, tuple(filter(None, output)))


def write_files(text: str, folder: Path) -> list[Path]:
    """Write the blocks that are files into a folder."""
    paths = []
    for block in blocks(text):
        if block.file:
            paths.append(folder / block.file)
            paths[-1].write_text(block.body, encoding="utf-8")
    return paths


def links(text: str) -> Iterator[str]:
    """Targets of links to files, without anchors."""
    for match in re.finditer(r"\]\((?P<target>[^)#\s]+)", text):
        if "://" not in match["target"]:
            yield match["target"]
