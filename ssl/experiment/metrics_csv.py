"""metrics.csv: one row per logged step, whole after every write and after every resume."""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class MetricsCSV(Logger):
    """Lightning's CSV logger deletes the file of the run it resumes; this one continues it at the resumed step."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def resume(self, step: int) -> None:
        """Keep what was logged before `step`: what came after is about to be computed again."""
        if self.file.exists():
            with self.file.open(newline="") as f:
                rows = {int(row["step"]): {k: v for k, v in row.items() if v != ""} for row in csv.DictReader(f)}
            self.rows = {s: row for s, row in rows.items() if s < step}

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run folder holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.setdefault(step or 0, {"step": step or 0}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        columns = ["step", *sorted({k for row in self.rows.values() for k in row} - {"step"})]
        draft = self.file.with_suffix(".tmp")
        with draft.open("w", newline="") as f:
            writer = csv.DictWriter(f, columns)
            writer.writeheader()
            writer.writerows(row for _, row in sorted(self.rows.items()))
        os.replace(draft, self.file)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
