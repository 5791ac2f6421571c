"""``python -m nnray``: the command line, where no script of that name is on the path."""

from nnray.cli import main

main()
