"""``python -m continual.cli``."""

from continual.cli import main

main()
