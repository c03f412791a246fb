"""``python -m continual``, which launchers start: ``torchrun -m continual run ...``."""

from continual.cli import main

main()
