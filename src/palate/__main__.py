"""``python -m palate``: the command line."""

from palate.cli import main

main()
