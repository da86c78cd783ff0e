"""All rows, in the order of the table."""

from benchmarks.row import Row
from benchmarks.rows import (
    evaluation,
    hypernets,
    long,
    partial,
    peers,
    replay,
    stacked,
    start,
    sweeping,
    targets,
    threads,
)

ROWS: dict[str, Row] = {
    row.name: row
    for part in (
        hypernets,
        partial,
        peers,
        replay,
        stacked,
        targets,
        evaluation,
        long,
        sweeping,
        threads,
        start,
    )
    for row in part.ROWS
}
"""name → row."""
