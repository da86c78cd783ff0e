"""`python -m hypermnesia`."""

from hypermnesia.cli import main

main()
