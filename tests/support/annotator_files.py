"""Weights of preprocessors under the names that they are published with: the real shapes, made-up values, tiny files.

A tensor is a view of a short vector with overlapping strides, so that 345 million numbers are a file of kilobytes.
"""

from __future__ import annotations

import contextlib
import io
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from engine.loading.torchvision_guard import guard_torchvision

State = dict[str, torch.Tensor]


def write_annotator(name: str, folder: Path) -> Path:
    """Write the file of that name, such as `ControlNetHED.pth`, into `folder`."""
    guard_torchvision()
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.device("meta"):
        warnings.simplefilter("ignore")
        state, wrap = _MAKERS[name]()
    target = folder / name
    torch.save(wrap({key: _made_up(value) for key, value in state.items()}), target)
    return target


def _made_up(like: torch.Tensor) -> torch.Tensor:
    """Small values of both signs in the shape of `like`; variances and counts of norms stay positive."""
    if not like.is_floating_point():
        return torch.ones(like.shape, dtype=like.dtype)
    inputs = max(1, like[0].numel() if like.ndim > 1 else 1)
    generator = torch.Generator().manual_seed(like.numel())
    values = torch.randn(sum(like.shape) + 1, generator=generator) / inputs**0.5
    if like.ndim < 2:
        values = values.abs() * 0.1 + 0.5
    return values.as_strided(like.shape, (1,) * like.ndim) if like.ndim else values[0].clone()


def _same(state: State) -> Any:
    return state


def _in(key: str) -> Callable[[State], Any]:
    return lambda state: {key: state}


def _hed() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.hed import ControlNetHED_Apache2

    return ControlNetHED_Apache2().state_dict(), _same


def _pidi() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.pidi.model import pidinet

    return pidinet().state_dict(), lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}


def _mlsd() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.mlsd.models.mbv2_mlsd_large import MobileV2_MLSD_Large

    return MobileV2_MLSD_Large().state_dict(), _same


def _lineart() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.lineart import Generator

    return Generator(3, 1, 3).state_dict(), _same


def _anime() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    import functools

    from controlnet_aux.lineart_anime import UnetGenerator

    norm = functools.partial(torch.nn.InstanceNorm2d, affine=False, track_running_stats=False)
    net = UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False)
    return net.state_dict(), lambda state: {f"module.{key}": value for key, value in state.items()}


def _pose(part: str) -> Callable[[], tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]]:
    def make() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
        from controlnet_aux.open_pose import model

        net = getattr(model, f"{part}pose_model")()
        return net.state_dict(), lambda state: {key.split(".", 1)[1]: value for key, value in state.items()}

    return make


def _face() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.open_pose.face import FaceNet

    return FaceNet().state_dict(), _same


def _normal() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.normalbae.nets.NNET import NNET

    settings = types.SimpleNamespace(
        mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7
    )
    return NNET(settings).state_dict(), _in("model")


def _midas() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    return DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True).state_dict(), _same


def _zoe() -> tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]:
    from controlnet_aux.zoe import ZoeDepth, get_config

    return ZoeDepth.build_from_config(get_config("zoedepth", "infer")).state_dict(), _in("model")


_MAKERS: dict[str, Callable[[], tuple[Mapping[str, torch.Tensor], Callable[[State], Any]]]] = {
    "ControlNetHED.pth": _hed,
    "table5_pidinet.pth": _pidi,
    "mlsd_large_512_fp32.pth": _mlsd,
    "sk_model.pth": _lineart,
    "sk_model2.pth": _lineart,
    "netG.pth": _anime,
    "body_pose_model.pth": _pose("body"),
    "hand_pose_model.pth": _pose("hand"),
    "facenet.pth": _face,
    "scannet.pt": _normal,
    "dpt_hybrid-midas-501f0c75.pt": _midas,
    "ZoeD_M12_N.pt": _zoe,
}
