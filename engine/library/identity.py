"""What a model file is: kind, family, number format, prediction, and a sentence where Easel cannot use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.library.headers import TensorInfo
from engine.protocol.adapters import AdapterKind
from engine.protocol.frozen import Frozen
from engine.protocol.library import FileKind

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
}


class AdapterFacts(Frozen):
    """What an adapter's header tells beyond what every file tells.

    Attributes:
        kind, rank: as `AdapterView` has them. modules: how many modules it changes.
        tag_lines: training tags with how many pictures had them, the most frequent first: a line "tag<tab>count" for
            each. One text, since ten thousand adapters have half a million tags, which nobody reads at a start.
        certain_words: how many of the trigger words, from the first, are meant to stand in every prompt.
        text_width: of the text that the changed UNet reads; 0 where the file does not tell.
        has_cover: there is a picture inside the metadata.
        said_hash: the AutoV3 that the metadata claims (`sshs_model_hash`), which A1111 believes; 64 hex or "".
        said_name: what its trainer called it (`ss_output_name`), which other studios write into prompts; or "".
        speed: "lcm", "tcd", "lightning", "hyper", "turbo" or "dmd2" where it makes the model draw in few steps; "few"
            where only its build says so, and nobody knows which it is.
    """

    kind: AdapterKind = ""
    rank: int | None = None
    modules: int = 0
    tag_lines: str = ""
    certain_words: int = 0
    default_weight: float | None = None
    text_width: int = 0
    has_cover: bool = False
    said_hash: str = ""
    said_name: str = ""
    speed: str = ""

    def tags(self) -> list[tuple[str, int]]:
        """The tags with their counts."""
        lines = self.tag_lines.split("\n") if self.tag_lines else []
        return [(tag, int(count)) for tag, _, count in (line.partition("\t") for line in lines)]

    def first_tags(self, most: int) -> tuple[str, ...]:
        """The first `most` tags. Each start asks this of every adapter."""
        lines = self.tag_lines.split("\n", most)[:most] if self.tag_lines else ()
        return tuple([line.partition("\t")[0] for line in lines])


class Identity(Frozen):
    """What was read out of a file's header or a folder's configs.

    Attributes:
        kind, family: family is "" where it cannot be told ("sd1", "sd2", "sdxl" otherwise).
        dtype: of most of the weights, in torch's words. prediction_type: "epsilon" or "v_prediction", for checkpoints.
        zero_snr: trained to pure noise (`ztsnr`), which the scheduler must rescale for.
        parts: what is inside ("unet", "vae", "text_encoder", …).
        text_width: width of the text that the UNet reads, 0 where unknown.
        title, description, trigger_words: from the file's own metadata.
        adapter: more of an adapter; None for every other kind.
        problem, code: why it cannot be used, and the `ModelFileError` code of that.
    """

    kind: FileKind
    family: str = ""
    dtype: str = ""
    prediction_type: str = ""
    zero_snr: bool = False
    parts: tuple[str, ...] = ()
    text_width: int = 0
    title: str = ""
    description: str = ""
    trigger_words: tuple[str, ...] = ()
    adapter: AdapterFacts | None = None
    problem: str = ""
    code: str = ""


def common_dtype(tensors: Iterable[TensorInfo]) -> str:
    """The number format that most bytes have."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.dtype] += max(tensor.end - tensor.start, 1)
    counts.pop("", None)
    if not counts:
        return ""
    name = counts.most_common(1)[0][0]
    return DTYPES.get(name, name.lower())
