"""The text of somebody's file, and how it is written: what we add is written alike, and every other byte stays."""

from __future__ import annotations

import codecs
import io
import tokenize

from msgspec import Struct

from migrate_graph.errors import UsageError


class UserText(Struct, frozen=True):
    """The text of somebody's file, and how it is written.

    Attributes:
        text: with the line ends that it has.
        encoding: as Python or TOML knows it.
        mark: the byte order mark at its beginning, which editors of some systems write.
        newline: the end of its lines.
    """

    text: str
    encoding: str
    mark: bytes
    newline: str

    @classmethod
    def of(cls, content: bytes, *, name: str, encoding: str) -> UserText:
        """Decode a file.

        Raises:
            UsageError: it is not written in this encoding.
        """
        mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
        try:
            text = content.removeprefix(mark).decode(encoding)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name} is not {encoding}: {error.reason} at byte {error.start}", hint="save it as UTF-8"
            ) from error
        return cls(text, encoding, mark, "\r\n" if "\r\n" in text else "\n")

    @classmethod
    def of_python(cls, content: bytes, *, name: str) -> UserText:
        """Decode a file as Python does: by its mark, then by its `# coding:`.

        Raises:
            UsageError: it is not written in this encoding. Python loads it if only comments are not.
        """
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        except SyntaxError as error:
            raise UsageError(f"{name} cannot be decoded: {error.msg}", hint="save it as UTF-8") from error
        return cls.of(content, name=name, encoding=encoding.removesuffix("-sig"))

    def lines_of(self, text: str) -> str:
        """Return a text of ours with the line ends of the file."""
        return text.replace("\n", self.newline)

    def encoded(self, text: str) -> bytes:
        """Return the whole file with another text.

        Raises:
            UsageError: the encoding has no such character.
        """
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = text[error.start : error.end]
            raise UsageError(
                f"the file is written in {self.encoding}, which has no {character!r}", hint="save it as UTF-8"
            ) from error
