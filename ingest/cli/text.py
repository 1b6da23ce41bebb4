"""Numbers and names, as a terminal is to show them."""

from __future__ import annotations


def human_size(size: float) -> str:
    """Return ``size`` bytes in binary units, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - what a binary unit is
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def printable(text: str) -> str:
    """Return ``text`` on one line, with what a terminal cannot show or would obey escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
