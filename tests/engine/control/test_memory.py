"""Units under little memory: networks one after another, weights that rest narrower, and what the forecast counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from engine.control.compose import ControlRows, summed
from engine.control.network import ControlNetwork
from engine.families.families import family
from engine.jobs.controls import ControlKey
from engine.library.library import Library
from engine.loading.controlnet import _SHARED
from engine.loading.torchvision_guard import guard_torchvision
from engine.memory.activations import dtype_bytes, unet_shape
from engine.memory.desk import MemoryDesk
from engine.memory.levels import FROM_FILE, MemoryOptimizationConfig, OptimizationLevel
from engine.memory.parts import file_nbytes
from engine.memory.resting import resting_format
from engine.pipeline.model import open_model
from engine.protocol.specs import ControlUnit
from engine.store.store import open_store
from tests.engine.control.test_shop import Bench, bench, spec
from tests.support.activation_meter import activation_peak
from tests.support.fake_machine import FakeProbe
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_ip_adapter import write_tiny_ip_adapter
from tests.support.tiny_models import write_tiny_controlnet

__all__ = ["bench"]
SIDE, ROWS = 64, 2


def test_several_units_of_full_size_hold_the_activations_of_one() -> None:
    """SD 1.5's ControlNet on the meta device: a second and a third one add nothing but what they add up."""
    guard_torchvision()
    config = family("sd1").config("unet")
    shared = {
        name: value for name, value in config.items() if name in diffusers.ControlNetModel.__init__.__code__.co_varnames
    }
    shared = {name: config[name] for name in _SHARED if config.get(name) is not None}
    with torch.device("meta"):
        nets = [diffusers.ControlNetModel(**shared).bfloat16() for _ in range(3)]
        hint = torch.empty(1, 320, SIDE, SIDE, dtype=torch.bfloat16)
        sample = torch.empty(ROWS, 4, SIDE, SIDE, dtype=torch.bfloat16)
        times = torch.empty(ROWS)
        text = torch.empty(ROWS, 77, 768, dtype=torch.bfloat16)

    def peak(count: int) -> int:
        rows = []
        for net in nets[:count]:
            network = ControlNetwork(net, "net")
            rows.append(ControlRows(network, hint, ((0.5,) * network.layers,) * ROWS))
        return activation_peak(torch.nn.ModuleList(nets), lambda: summed(rows, sample, times, text))

    one, two, three = (peak(count) for count in (1, 2, 3))
    shape = unet_shape(config)
    answer = shape.skips * SIDE * SIDE * ROWS * dtype_bytes("bfloat16")
    assert two - one <= 1.05 * answer, "only the sum of the first one's answers is held beside the second one"
    assert three <= 1.01 * two
    assert 2 * one > 1.2 * two, "together they would take far more"


@pytest.mark.parametrize(
    ("level", "stored", "rests"),
    [
        ("", "float16", "float32"),
        (FROM_FILE, "float16", "float16"),
        (FROM_FILE, "float32", "float32"),
        (FROM_FILE, "", "float32"),
        (FROM_FILE, "f8_e5m2", "float32"),
        ("float8_e4m3fn", "float16", "float8_e4m3fn"),
        ("strange", "float16", "float32"),
    ],
)
def test_the_format_at_rest(level: str, stored: str, rests: str) -> None:
    assert resting_format(level, stored, "float32") == rests
    assert resting_format(level, stored, "float16") in ("float16", "float8_e4m3fn")


def halved(folder: Path) -> None:
    """The ControlNet's file in 16 bits, as most are."""
    diffusers.ControlNetModel.from_pretrained(folder, torch_dtype=torch.float16).save_pretrained(folder)


@pytest.mark.parametrize(("level", "rests"), [("aggressive", "float16"), ("ultra", "float8_e4m3fn")])
def test_a_level_lets_the_weights_rest(bench: Callable[[int], Bench], tmp_path: Path, level: str, rests: str) -> None:
    halved(tmp_path / "models" / "controlnet" / "canny")
    shop, pool, plain, image = bench(2**30)
    unit = ControlUnit(model="canny", image=image, preprocessor="canny")
    entry = shop._model(TINY)
    config = MemoryOptimizationConfig.from_level(OptimizationLevel(level), device="cpu")
    lowered = open_model(pool, entry, config=config)
    made: list[list[torch.Tensor]] = []
    sizes: list[int] = []
    for bundle in (plain, lowered):
        lent = shop.lend(spec(unit), bundle)
        working: Any = lent.controls.units[0]
        key = next(each.key for each in pool.entries() if isinstance(each.key, ControlKey) and each.leases)
        sizes.append(next(each.nbytes for each in pool.entries() if each.key == key))
        network = working.network
        generator = torch.Generator().manual_seed(1)
        sample = torch.randn(2, 4, 16, 16, generator=generator)
        text = torch.randn(2, 77, 32, generator=generator)
        with torch.inference_mode():
            made.append(network.residuals(sample, torch.tensor([500.0, 500.0]), text, working.hint))
        lent.close()
    assert key.dtype == rests
    assert sizes[1] < 0.65 * sizes[0]
    for wide, narrow in zip(*made, strict=True):
        assert narrow.dtype == torch.float32
        if rests == "float16":
            torch.testing.assert_close(narrow, wide, atol=1e-5, rtol=1e-5)
        else:
            distance = (narrow - wide).norm() / wide.norm()
            assert 0 < distance < 0.2, "rounded, and near"


def test_the_forecast_counts_units_of_every_kind(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    model = tmp_path / "models" / "checkpoints" / TINY
    folder = tmp_path / "models" / "controlnet"
    files = {
        "controlnet": write_tiny_controlnet(folder / "canny", model),
        "ip_adapter": write_tiny_ip_adapter(folder / "ip-plain.safetensors", model),
    }
    store = open_store(settings.state_dir)
    library = Library(settings, store.library)
    library.refresh()
    desk = MemoryDesk(store, library, probe=FakeProbe(vram=8))

    def counted(*units: ControlUnit, level: str = "none") -> tuple[int, int]:
        view = desk.forecast(spec(*units), level)
        return next((band.nbytes for band in view.bands if band.name == "controls"), 0), view.peak

    units = {
        "controlnet": ControlUnit(model="canny"),
        "ip_adapter": ControlUnit(kind="ip_adapter", model="ip-plain"),
    }
    bare, lowest = counted()
    assert bare == 0
    for kind, unit in units.items():
        held, peak = counted(unit)
        assert held == pytest.approx(file_nbytes(files[kind], desk.adviser.dtype), rel=0.01)
        assert peak > lowest
    both = counted(*units.values())
    assert both[0] == sum(counted(unit)[0] for unit in units.values())
    assert counted(units["controlnet"], units["controlnet"])[0] == counted(units["controlnet"])[0], "one file, once"
    ultra = {kind: counted(unit, level="ultra")[0] for kind, unit in units.items()}
    assert ultra["controlnet"] == file_nbytes(files["controlnet"], "float8_e4m3fn"), "in 8 bits, as it will rest"
    assert ultra["ip_adapter"] == counted(units["ip_adapter"])[0], "only ControlNets rest in fewer bits"
    assert counted(units["controlnet"].model_copy(update={"muted": True})) == (bare, lowest)
    store.close()
