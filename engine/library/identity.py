"""What a model file is: kind, family, number format, prediction, and a sentence where Easel cannot use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from engine.library.headers import TensorInfo
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


class Identity(Frozen):
    """What was read out of a file's header or a folder's configs.

    Attributes:
        kind, family: family is "" where it cannot be told ("sd1", "sd2", "sdxl" otherwise).
        dtype: of most of the weights, in torch's words. prediction_type: "epsilon" or "v_prediction", for checkpoints.
        zero_snr: trained to pure noise (`ztsnr`), which the scheduler must rescale for.
        parts: what is inside ("unet", "vae", "text_encoder", …).
        text_width: width of the text that the UNet reads, 0 where unknown.
        title, description, trigger_words: from the file's own metadata.
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
