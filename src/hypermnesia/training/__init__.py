"""The only loop, its steps, graphs, stacks and checkpoints."""
