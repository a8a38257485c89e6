"""The distance of a variation from its image: one level for all images, or a table."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from ...ssl.core.errors import UserError
from .fingerprint import fingerprint

HIGHEST = 999  # of a thousand steps of diffusion, 0 being the first
COLUMNS = ("row", "noise_level")


class Levels:
    """`levels[row]`, from 0 to HIGHEST.

    Args:
        given: a level, or a parquet or CSV file with the columns `row` and `noise_level`.
    """

    def __init__(self, given: int | str) -> None:
        if isinstance(given, int):
            self.name, self.every, self.of_row = f"{given}", given, {}
        else:
            file = Path(given).expanduser()
            self.of_row, self.every = _read(file), None
            self.name = f"{file.name}:{fingerprint([file])}"
        for level in (given, *self.of_row.values()):
            if isinstance(level, int) and not 0 <= level <= HIGHEST:
                raise UserError(f"generator.levels={given}: a noise level is 0 to {HIGHEST}, not {level}")

    def __getitem__(self, row: int) -> int:
        level = self.of_row.get(row, self.every)
        if level is None:
            raise UserError(f"generator.levels={self.name} has no level for row {row}: it needs one for every row")
        return level


def _read(file: Path) -> dict[int, int]:
    try:
        table = ds.dataset(file, format="csv" if file.suffix == ".csv" else "parquet").to_table(list(COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"generator.levels={file} is no table of {' and '.join(COLUMNS)}: {reason}") from error
    row, level = (table.column(name).to_pylist() for name in COLUMNS)
    return dict(zip(row, level, strict=True))
