"""Progress bars on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressBars:
    """Progress on the terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("  {task.description:<34}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[what]}", style="dim"),
            console=console,
        )
        self.current: TaskID | None = None

    def stage(self, name: str, total: int) -> None:
        """Begin a bar."""
        self.close()
        self.current = self.bars.add_task(name, total=total, what="")

    def advance(self, what: str = "") -> None:
        """Move the bar on."""
        if self.current is not None:
            self.bars.update(self.current, advance=1, what=what)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(f"  {text}", highlight=False)

    def close(self) -> None:
        """Empty the last remark."""
        if self.current is not None:
            self.bars.update(self.current, what="")
