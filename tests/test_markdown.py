from __future__ import annotations

from pathlib import Path

from tests.markdown import Command, blocks, commands, links, write_files

PAGE = """
Text with `code`.

```console
$ nnray check a.yaml 'b=[1, 2]'   # says ok
a.yaml: ok
$ nnray check b.yaml      # exits 2

$ make demo
```

```yaml
# a.yaml
name: a
```

```yaml
name: fragment
```

```python
# a.py
x = 1
```

    indented: not a block

[one](docs/a.md#part) [two](LICENSE) [far](https://example.org/x)
"""


def test_blocks_come_in_order_with_their_language() -> None:
    assert [(block.language, block.file) for block in blocks(PAGE)] == [
        ("console", None),
        ("yaml", "a.yaml"),
        ("yaml", None),
        ("python", "a.py"),
    ]


def test_a_command_has_its_words_exit_code_and_output() -> None:
    assert list(commands(PAGE)) == [
        Command(("nnray", "check", "a.yaml", "b=[1, 2]"), 0, ("a.yaml: ok",)),
        Command(("nnray", "check", "b.yaml"), 2, ()),
        Command(("make", "demo"), 0, ()),
    ]


def test_blocks_with_a_title_are_written_as_they_are(tmp_path: Path) -> None:
    assert write_files(PAGE, tmp_path) == [tmp_path / "a.yaml", tmp_path / "a.py"]
    assert (tmp_path / "a.py").read_text() == "# a.py\nx = 1\n"


def test_links_are_to_files_only() -> None:
    assert list(links(PAGE)) == ["docs/a.md", "LICENSE"]
