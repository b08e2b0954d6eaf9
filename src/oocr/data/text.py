"""The text of a user's file, and what about it was mended in reading."""

from __future__ import annotations

from dataclasses import dataclass
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
