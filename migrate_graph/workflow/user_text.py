"""The text of a user's file with its encoding and line ends: added text is written in the same way, and every other byte stays."""

from __future__ import annotations

import codecs
import io
import tokenize

from msgspec import Struct

from migrate_graph.errors import UsageError


class UserText(Struct, frozen=True):
    """The text of a user's file, with its encoding and line ends.

    Attributes:
        text: the text, with its line ends as they are.
        encoding: name of the encoding.
        mark: the byte order mark at the beginning; empty without one.
        newline: the line end of the file.
    """

    text: str
    encoding: str
    mark: bytes
    newline: str

    @classmethod
    def of(cls, content: bytes, *, name: str, encoding: str) -> UserText:
        """Decode a file.

        Raises:
            UsageError: the content is not in this encoding.
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
        """Decode a file as Python does: by its byte order mark, then by its `# coding:`.

        Raises:
            UsageError: the content is not in this encoding. (Python itself loads such a file when only its comments are wrong.)
        """
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        except SyntaxError as error:
            raise UsageError(f"{name} cannot be decoded: {error.msg}", hint="save it as UTF-8") from error
        return cls.of(content, name=name, encoding=encoding.removesuffix("-sig"))

    def lines_of(self, text: str) -> str:
        """Return a text with the line ends of the file."""
        return text.replace("\n", self.newline)

    def encoded(self, text: str) -> bytes:
        """Return the whole file with another text.

        Raises:
            UsageError: the text has a character that the encoding does not have.
        """
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = text[error.start : error.end]
            raise UsageError(
                f"the file is written in {self.encoding}, which has no {character!r}", hint="save it as UTF-8"
            ) from error
