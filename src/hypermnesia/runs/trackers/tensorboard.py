"""TensorBoard: scalars over the run's steps, in DIR/seed-K/tensorboard."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

from hypermnesia.runs.trackers.base import Reader, Record, Run, Tracker


@contextmanager
def track(run: Run, past: Sequence[dict[str, Any]]) -> Iterator[Tracker]:
    """Write event files; after a resume, what was logged beyond the checkpoint is hidden (`purge_step`)."""
    reader = Reader(past, run.by_task)
    purge = reader.total + 1 if past else None
    with SummaryWriter(str(run.directory / "tensorboard"), purge_step=purge) as writer:
        table = "\n".join(f"| {key} | {value} |" for key, value in run.settings.items())
        writer.add_text("configuration", f"| key | value |\n|---|---|\n{table}")

        def write(record: Record) -> None:
            for name, value in reader.numbers(record).items():
                writer.add_scalar(name, value, reader.total)

        yield write
