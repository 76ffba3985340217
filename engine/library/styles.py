"""styles.csv: named pieces of prompts, in the file that A1111 and others share.

UTF-8 with BOM, header `name,prompt,negative_prompt` (older files: `name,text`). `{prompt}` in a style is where the
prompt goes; without it the style is appended. Rows whose name starts with `#` are comments, kept as they are.
"""

from __future__ import annotations

import csv
import difflib
import io
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.errors import ConfigError, SpecError, StorageError
from engine.images.disk import storage_error, write_whole
from engine.protocol.commands import Style
from engine.protocol.specs import PROMPT_LIMIT

PLACEHOLDER = "{prompt}"
FIELDS = ("name", "prompt", "negative_prompt")
Row = dict[str, str]


class StyleFile:
    """One styles.csv. Each call reads the file again, as people edit it by hand beside the studio."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def load(self) -> list[Style]:
        """All styles in the order of the file; of two with one name, the last. [] where there is no file.

        Raises:
            ConfigError: `config_unreadable` when the file is not a table of styles.
        """
        styles = {row["name"]: row for row in self._rows()[1] if _is_style(row)}
        return [
            Style(name=name, prompt=row["prompt"], negative_prompt=row["negative_prompt"])
            for name, row in styles.items()
        ]

    def pick(self, names: Iterable[str]) -> list[Style]:
        """The styles of these names, in this order.

        Raises:
            SpecError: `style_unknown`, with the nearest name.
        """
        known = {style.name: style for style in self.load()}
        return [known[name] if name in known else _unknown(name, list(known)) for name in names]

    def save(self, style: Style) -> None:
        """Add a style, or replace the one of its name in its place. The file before is kept as `.bak`.

        Raises:
            SpecError: `bad_request` for an empty name or one that starts with `#`; `prompt_too_long`.
            StorageError: where the disk refuses.
        """
        name = style.name.strip()
        if not name or name.startswith("#"):
            raise SpecError(
                "bad_request", "A style needs a name, which must not start with “#”.", "Choose another name."
            )
        if max(len(style.prompt), len(style.negative_prompt)) > PROMPT_LIMIT:
            raise SpecError("prompt_too_long", f"A style has at most {PROMPT_LIMIT} characters.", "Make it shorter.")
        with self._lock:
            header, rows = self._rows()
            values = {"name": name, "prompt": style.prompt, "negative_prompt": style.negative_prompt}
            place = next((at for at in reversed(range(len(rows))) if rows[at]["name"] == name), None)
            if place is None:
                rows.append(values)
            else:
                rows[place] = rows[place] | values
            self._write(header, rows)

    def delete(self, name: str) -> None:
        """Remove every style of that name; the file before is kept as `.bak`.

        Raises:
            SpecError: `style_unknown`, with the nearest name.
            StorageError: where the disk refuses.
        """
        with self._lock:
            header, rows = self._rows()
            kept = [row for row in rows if row["name"] != name or not _is_style(row)]
            if len(kept) == len(rows):
                _unknown(name, [row["name"] for row in rows if _is_style(row)])
            self._write(header, kept)

    def _rows(self) -> tuple[list[str], list[Row]]:
        """Header and rows with today's field names; further columns are kept."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return list(FIELDS), []
        except OSError as error:
            raise StorageError("disk_error", "styles.csv cannot be read.", "Check the file's permissions.") from error
        try:
            reader = csv.DictReader(io.StringIO(_decode(data), newline=""), restkey="", restval="")
            rows = [{_today(key): value for key, value in row.items() if key} for row in reader]
        except csv.Error as error:
            raise ConfigError(
                "config_unreadable", f"styles.csv is not a table: {error}.", "Correct it, or use styles.csv.bak."
            ) from error
        header = [_today(key) for key in reader.fieldnames or FIELDS if key]
        if "name" not in header:
            raise ConfigError(
                "config_unreadable",
                "styles.csv has no column “name”.",
                "Its first line must be name,prompt,negative_prompt.",
            )
        header += [field for field in FIELDS if field not in header]
        return header, [{field: row.get(field) or "" for field in header} for row in rows]

    def _write(self, header: Sequence[str], rows: Iterable[Row]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows)
        try:
            if self._path.is_file():
                shutil.copyfile(self._path, self._path.with_name(f"{self._path.name}.bak"))
        except OSError as error:
            raise storage_error(error, "styles.csv") from error
        write_whole(self._path, buffer.getvalue().encode("utf-8-sig", "replace"), "styles.csv")


def apply_styles(styles: Iterable[Style], prompt: str, negative: str) -> tuple[str, str]:
    """Both prompts with the styles applied, one after the other, as A1111 does."""
    for style in styles:
        prompt = _merge(style.prompt, prompt)
        negative = _merge(style.negative_prompt, negative)
    return prompt, negative


def _merge(style: str, prompt: str) -> str:
    if PLACEHOLDER in style:
        return style.replace(PLACEHOLDER, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def _is_style(row: Row) -> bool:
    return bool(row["name"].strip()) and not row["name"].startswith("#")


def _today(key: str) -> str:
    plain = key.strip()
    return "prompt" if plain == "text" else plain


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Saved by a spreadsheet on Windows.
        return data.decode("cp1252", "replace")


def _unknown(name: str, known: Sequence[str]) -> Style:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean “{near[0]}”?" if near else "Choose one of the styles in the list."
    raise SpecError("style_unknown", f"There is no style “{name[:100]}”.", hint)
