"""Let transformers be imported beside a torchvision whose operators do not fit the installed torch.

Why: transformers (and controlnet-aux through timm) import torchvision when it is installed. Where its build does not
match torch's (a CUDA torchvision beside a CPU torch, say) its library does not load, and `import torchvision` fails
with "operator torchvision::nms does not exist". Easel needs none of those operators, so declaring the two that the
import asks for is enough. Call `guard_torchvision()` before the first import of transformers, compel or controlnet_aux.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    ("nms", "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ("qnms", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
)


@functools.cache
def guard_torchvision() -> tuple[torch.library.Library, ...]:
    """Declare torchvision's missing operators; does nothing where it is absent or healthy.

    Returns:
        What was registered: empty where nothing was needed. The cache keeps it alive, because torch takes back the
        declarations of a `Library` that is collected.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return ()
    for folder in spec.submodule_search_locations:
        for file in sorted(Path(folder).glob("_C*")):
            if file.suffix in {".so", ".pyd", ".dylib"} and _loads(file):
                return ()
    missing = [schema for name, schema in _SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return ()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in missing:
        library.define(schema)
    return (library,)


def _loads(file: Path) -> bool:
    try:
        torch.ops.load_library(file)
    except (OSError, RuntimeError):
        return False
    return True
