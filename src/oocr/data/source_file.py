"""A user's file: its text, and everything wrong with it, reported in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from oocr.errors import InputError

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Text:
    r"""A file's text.

    Attributes:
        text: decoded, without a byte-order mark; line ends as they are.
        mended: what a stricter reader would have stumbled over, in words.
    """

    text: str
    mended: tuple[str, ...] = ()


def file_text(path: Path) -> Text:
    """Read a UTF-8 file.

    Raises:
        InputError: it is not there, a folder, or not UTF-8; the line is named.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder; a file is wanted") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise InputError(
            f"{path}:{line}: encoding: found the byte 0x{data[error.start]:02x}{hint}; "
            "allowed: UTF-8"
        ) from None
    mended = (
        *(["byte-order mark dropped"] if data.startswith(BOM) else []),
        *(["line ends are CR LF"] if b"\r\n" in data else []),
        *(["no newline at the end"] if data.strip() and not data.endswith(b"\n") else []),
    )
    return Text(text, mended)


SHOWN = 20
NO_VALUE = object()


@dataclass
class Problems:
    """Everything wrong with one file."""

    path: Path
    lines: list[str] = field(default_factory=list)

    def add(self, line: int, name: str, seen: object, allowed: str) -> None:
        """Note one problem; line 0: the file has no lines."""
        where = f"{self.path}:{line}" if line else f"{self.path}"
        self.lines.append(f"{where}: {name}: found {shown(seen)}; allowed: {allowed}")

    def raise_if_any(self) -> None:
        """Refuse the file if anything is wrong with it.

        Raises:
            InputError: with the first problems, and how many more there are.
        """
        if self.lines:
            raise InputError(listing(f"{self.path} cannot be used", self.lines))


def listing(title: str, lines: list[str]) -> str:
    """A title with its count, the first lines and how many more there are."""
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([f"{title}: {count}", *lines[:SHOWN], *more])


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """What to say about a key that is not allowed, with the nearest one that is."""
    names = list(allowed)
    near = difflib.get_close_matches(
        key.strip().lower(), [name.lower() for name in names], n=1, cutoff=0.6
    )
    meant = [name for name in names if name.lower() in near]
    hint = f"did you mean {meant[0]!r}? " if meant else ""
    return f"{hint}The keys are {', '.join(names)}"


def shown(value: object, limit: int = 90) -> str:
    """A value as an error message shows it: quoted, and cut when long."""
    if value is NO_VALUE:
        return "nothing"
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
