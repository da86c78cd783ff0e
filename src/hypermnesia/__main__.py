"""`python -m hypermnesia`."""

from hypermnesia.commands.app import main

main()
