"""The record of images that could not be read."""

from pathlib import Path

from ...ssl.core.errors import UserError
from .images import BadImage

SHOWN = 10


class BadFiles:
    """Names every bad image once, in `bad_files.txt` if there is a run folder, and stops when there are too many.

    Args:
        total: number of images.
        max_bad: share of them that may be bad.
        folder: of the run. Ranks and resumed runs add to the same file.
    """

    def __init__(self, total: int, max_bad: float | int, folder: Path | None = None) -> None:
        self.total, self.max_bad = total, max_bad
        self.path = folder / "bad_files.txt" if folder else None
        self.lines: dict[str, None] = {}  # a set that keeps its order

    def add(self, images: list[BadImage]) -> None:
        new = {_line(bad) for bad in images} - self.lines.keys()
        if not new:
            return
        self.lines |= dict.fromkeys(sorted(new))
        self._write()
        if len(self.lines) > self.max_bad * self.total:
            names = "; ".join(line.replace("\t", ": ") for line in list(self.lines)[:SHOWN])
            more = f"; and {len(self.lines) - SHOWN} more" if len(self.lines) > SHOWN else ""
            raise UserError(
                f"{len(self.lines)} of {self.total} images cannot be read, more than data.max_bad={self.max_bad} allows"
                f" ({names}{more}): mend or remove them, or raise data.max_bad"
            )

    def _write(self) -> None:
        if self.path is None:
            return
        written = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self.lines if line not in written)


def _line(bad: BadImage) -> str:
    """One line of text, also where a file name is neither."""
    text = f"{bad.name}\t{bad.reason}".replace("\n", " ")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
