"""What a step, an evaluation and a start cost, beside the peers: `python -m benchmarks`."""
