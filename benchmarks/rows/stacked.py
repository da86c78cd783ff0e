"""Several seeds as one program."""

from benchmarks.row import Row

ROWS: tuple[Row, ...] = ()
