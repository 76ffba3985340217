"""What people may write into a file: texts, words and a picture, each within its limit."""

from __future__ import annotations

import base64
import binascii
import io
import warnings

from PIL import Image

from engine.errors import MergeError
from engine.protocol.merge import FileMetadata

# The library shows a title's first 200 characters, and a description's first 4000.
LONGEST = {"title": 200, "author": 200, "license": 200, "usage_hint": 2000, "description": 4000}
MOST_WORDS, LONGEST_WORD = 100, 500
LARGEST_PICTURE = 2 << 20
LARGEST_SIDE = 4096
_FORMATS = ("JPEG", "PNG", "WEBP")


def require_details(metadata: FileMetadata) -> None:
    """Refuse texts that are too long, words that are empty, and a thumbnail that is no picture.

    Raises:
        MergeError: `merge_details_invalid`.
    """
    for name, most in LONGEST.items():
        text = getattr(metadata, name) or ""
        if len(text) > most:
            raise _refused(f"The {name.replace('_', ' ')} has {len(text)} characters", f"Write at most {most}.")
    for name in ("trigger_words", "tags"):
        words = getattr(metadata, name) or ()
        what = name.replace("_", " ")
        if len(words) > MOST_WORDS:
            raise _refused(f"There are {len(words)} {what}", f"Write at most {MOST_WORDS}.")
        if any(not word.strip() or len(word) > LONGEST_WORD for word in words):
            raise _refused(f"One of the {what} is empty or too long", f"Write 1 to {LONGEST_WORD} characters for each.")
    if metadata.thumbnail:
        _require_picture(metadata.thumbnail)


def _require_picture(text: str) -> None:
    head, _, data = text.rpartition(",")
    if len(data) > LARGEST_PICTURE * 4 // 3 + 4:
        raise _refused("The thumbnail is too large", f"Give at most {LARGEST_PICTURE >> 20} MB.")
    try:
        if head and not (head.startswith("data:image/") and head.endswith(";base64")):
            raise ValueError(head)
        raw = base64.b64decode(data, validate=True)
        with warnings.catch_warnings():
            # Pillow warns of bombs; the sides are looked at before a pixel is read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=_FORMATS) as picture:
                small = max(picture.size) <= LARGEST_SIDE
                if small:
                    picture.load()
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _refused("The thumbnail is no picture that can be read", "Give a JPEG, PNG or WebP as base64.") from error
    if not small:
        raise _refused("The thumbnail is too large", f"Its sides may have {LARGEST_SIDE} pixels.")


def _refused(what: str, hint: str) -> MergeError:
    return MergeError("merge_details_invalid", f"{what}.", hint)
