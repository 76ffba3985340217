"""Let transformers import where torchvision's operators do not match torch.

Why: a CPU torch beside a CUDA torchvision fails at `import torchvision` with "operator torchvision::nms does
not exist", and transformers and diffusers import torchvision when it is there. The recipe uses none of its
operators, so declaring the two missing schemas is enough.
"""

from __future__ import annotations

_KEPT: list[object] = []  # a torch Library undoes its definitions when it is collected

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def declare_missing_operators() -> bool:
    """Call before the first import of diffusers or transformers. True when something had to be declared."""
    import importlib.util

    import torch

    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # type: ignore[import-untyped]  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        import sys

        for name in [key for key in sys.modules if key == "torchvision" or key.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in _SCHEMAS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(name + schema)
        _KEPT.append(library)
        return True
    return False
