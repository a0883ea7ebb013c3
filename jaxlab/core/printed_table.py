"""Rows of numbers as plain text."""

from typing import Any

__all__ = ["table_lines"]


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Lay rows out in columns under their names; all have the same ones."""
    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = []
    for line in cells:
        first, *rest = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  " + "   ".join([first, *rest]))
    return lines


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
