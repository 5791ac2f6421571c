"""``python -m nnray.cli``: the command line."""

from nnray.cli import main

main()
