"""A merge's change equals that of the stack: mixed ranks, kinds, layers, weights, layouts; and the reports are true."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.adapters.modules import ModuleKey, TargetModule, Targets
from engine.library.entries import ModelEntry
from engine.library.hashing import auto_v3_of
from engine.library.headers import read_header
from engine.merge.files import RecipeFiles
from engine.protocol.merge import AdapterTarget, MergeInput, MergeRecipe, Reduction
from tests.engine.adapters.making import full, write_adapter
from tests.engine.merge.conftest import finish, nothing, stacked, worst

PLACES = (
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.attentions.0.proj_in",
    "mid_block.resnets.0.conv2",
    "conv_in",
)


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) * 0.2


def lora_of(rank: int):
    def make(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
        ones = [1] * (len(target.shape) - 2)
        return {
            "lora_up.weight": _noise((target.shape[0], rank, *ones), generator),
            "lora_down.weight": _noise((rank, *target.shape[1:]), generator),
            "alpha": torch.tensor(rank / 2.0),
        }

    return make


def locon_with_core(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    if len(target.shape) < 3:
        return lora_of(3)(target, generator)
    return {
        "lora_up.weight": _noise((target.shape[0], 3, 1, 1), generator),
        "lora_mid.weight": _noise((3, 3, *target.shape[2:]), generator),
        "lora_down.weight": _noise((3, target.shape[1], 1, 1), generator),
        "alpha": torch.tensor(2.0),
    }


def loha_of(rank: int, *, core: bool = False):
    def make(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
        rows, width, kernel = target.shape[0], target.shape[1], tuple(target.shape[2:])
        columns = int(np.prod(target.shape[1:]))
        if core and kernel:
            found = {f"hada_t{side}": _noise((rank, rank, *kernel), generator) for side in "12"}
            found |= {f"hada_w{side}_a": _noise((rank, rows), generator) for side in "12"}
            found |= {f"hada_w{side}_b": _noise((rank, width), generator) for side in "12"}
        else:
            found = {f"hada_w{side}_a": _noise((rows, rank), generator) for side in "12"}
            found |= {f"hada_w{side}_b": _noise((rank, columns), generator) for side in "12"}
        return found | {"alpha": torch.tensor(float(rank))}

    return make


def lokr_of(rank: int, factor: int = 4):
    def make(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
        rows, width, kernel = target.shape[0], target.shape[1], tuple(target.shape[2:])
        first = (factor if rows % factor == 0 else 1, factor if width % factor == 0 else 1)
        second = (rows // first[0], width // first[1] * int(np.prod(kernel or (1,))))
        if rank >= min(second):
            whole = (rows // first[0], width // first[1], *kernel)
            return {"lokr_w1": _noise(first, generator), "lokr_w2": _noise(whole, generator)}
        return {
            "lokr_w1": _noise(first, generator),
            "lokr_w2_a": _noise((second[0], rank), generator),
            "lokr_w2_b": _noise((rank, second[1]), generator),
            "alpha": torch.tensor(1.0),
        }

    return make


MAKERS = {
    "lora": lora_of,
    "locon with a core": lambda rank: locon_with_core,
    "loha": loha_of,
    "loha with a core": lambda rank: loha_of(rank, core=True),
    "lokr": lokr_of,
    "full": lambda rank: full,
}
EXACT = AdapterTarget(kind="lora", dtype="float32")


def here(key: ModuleKey) -> bool:
    return key[1] in PLACES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Writes each file once."""
    root = tmp_path_factory.mktemp("inputs")
    known: dict[tuple[str, int, int], Path] = {}

    def make(targets: Targets, kind: str, rank: int, seed: int) -> Path:
        if (kind, rank, seed) not in known:
            path = root / f"{kind} {rank} {seed}.safetensors"
            known[kind, rank, seed] = write_adapter(path, targets, MAKERS[kind](rank), seed=seed, choose=here)
        return known[kind, rank, seed]

    return make


def merge(paths: list[Path], weights: list[float], base: ModelEntry, out: Path, **recipe):
    files = RecipeFiles({path.stem: path for path in paths}, {"tiny": base})
    inputs = tuple(MergeInput(name=path.stem, weight=weight) for path, weight in zip(paths, weights, strict=True))
    return finish(MergeRecipe(inputs=inputs, base="tiny", **{"target": EXACT, **recipe}), files, out, replace=True)


one_input = st.tuples(
    st.sampled_from(sorted(MAKERS)),
    st.sampled_from([1, 2, 3, 5, 16, 40]),
    st.integers(0, 2),
    st.floats(-2, 2).filter(lambda weight: abs(weight) > 0.05),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=st.lists(one_input, min_size=1, max_size=4, unique_by=lambda each: each[:3]))
@pytest.mark.parametrize("method", ["weighted_sum", "concat"])
def test_a_merge_changes_every_weight_as_the_stack_does(method, inputs, targets, base, made, tmp_path) -> None:
    paths = [made(targets["sd1"], kind, rank, seed) for kind, rank, seed, _ in inputs]
    weights = [weight for *_, weight in inputs]
    out = tmp_path / "out.safetensors"
    report = merge(paths, weights, base, out, method=method)
    wanted = stacked(paths, weights, targets["sd1"], nothing(targets["sd1"]))
    found = stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"]))
    assert worst(found, wanted) < 1e-5
    assert report.parity < 1e-5
    assert report.energy == 1.0


# Ranks of 1 and of 128, which no layer of the tiny model can have: there the sum is a whole difference.
MIXED = [
    *(((first, 3), (second, 3)) for first, second in itertools.combinations(["lora", "loha", "lokr"], 2)),
    (("lora", 1), ("lora", 16)),
    (("lora", 128), ("lora", 1)),
    (("lora", 128), ("loha", 5)),
]


@pytest.mark.parametrize("method", ["weighted_sum", "concat"])
@pytest.mark.parametrize(("first", "second"), MIXED)
def test_the_sum_is_that_of_numpy_in_double_precision(first, second, method, targets, base, made, tmp_path) -> None:
    """Without anything of ours: the formulas of the formats, as numpy computes them."""
    import lycoris.functional as reference
    from safetensors.torch import load_file

    paths = [made(targets["sd1"], *first, 0), made(targets["sd1"], *second, 1)]
    out = tmp_path / "out.safetensors"
    merge(paths, [0.7, -0.4], base, out, method=method)
    files = [load_file(path) for path in paths]
    merged = load_file(out)
    for place in PLACES:
        key = "lora_unet_" + place.replace(".", "_")
        rows = merged[f"{key}.lora_up.weight"].flatten(1).double().numpy()
        found = rows @ merged[f"{key}.lora_down.weight"].flatten(1).double().numpy()
        # As every reader does; one alpha holds for the whole file, the ranks differ.
        found *= float(merged[f"{key}.alpha"]) / rows.shape[1]
        wanted = sum(w * _by_formula(reference, file, key) for w, file in zip((0.7, -0.4), files, strict=True))
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-6


def _by_formula(reference, file: dict[str, Tensor], key: str) -> np.ndarray:
    part = {name.removeprefix(f"{key}."): value.double() for name, value in file.items() if name.startswith(f"{key}.")}
    alpha = part.get("alpha")
    if "lora_up.weight" in part:
        up, down = part["lora_up.weight"].flatten(1), part["lora_down.weight"].flatten(1)
        return (up @ down * (alpha / down.shape[0])).numpy()
    if "hada_w1_a" in part:
        w1, w2 = (part[f"hada_w{side}_a"] @ part[f"hada_w{side}_b"] for side in "12")
        return (w1 * w2 * (alpha / part["hada_w1_b"].shape[0])).numpy()
    if "lokr_w2" in part:
        return np.kron(part["lokr_w1"].numpy(), part["lokr_w2"].flatten(1).numpy())
    second = (part["lokr_w2_a"] @ part["lokr_w2_b"]).numpy()
    return np.kron(part["lokr_w1"].numpy(), second) * float(alpha / part["lokr_w2_b"].shape[0])


def test_weights_of_components_and_blocks_count(targets, base, tmp_path) -> None:
    path = write_adapter(
        tmp_path / "in.safetensors", targets["sd1"], components=("unet", "text_encoder"), choose=lambda key: True
    )
    blocks = tuple(float(place) / 10 for place in range(17))
    recipe = MergeRecipe(
        inputs=(MergeInput(name="in", weight=0.5, text_weight=-0.25, blocks=blocks),), base="tiny", target=EXACT
    )
    out = tmp_path / "out.safetensors"
    finish(recipe, RecipeFiles({"in": path}, {"tiny": base}), out)
    from engine.adapters.blocks import block_weights

    by_block = block_weights(blocks, targets["sd1"])
    alone = stacked([path], [1.0], targets["sd1"], nothing(targets["sd1"]))
    wanted = {
        key: delta * (0.5 if key[0] == "unet" else -0.25) * by_block.get(key, 1.0)
        for key, delta in alone.items()
        if by_block.get(key, 1.0)
    }
    found = stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"]))
    assert worst(found, wanted) < 1e-5


def test_normalising_divides_by_the_sum(targets, base, made, tmp_path) -> None:
    paths = [made(targets["sd1"], "lora", 2, 0), made(targets["sd1"], "lora", 3, 1)]
    out = tmp_path / "out.safetensors"
    merge(paths, [3.0, 1.0], base, out, normalise=True)
    wanted = stacked(paths, [0.75, 0.25], targets["sd1"], nothing(targets["sd1"]))
    assert worst(stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])), wanted) < 1e-5


@pytest.mark.parametrize("kind", ["lora", "full", "lokr"])
def test_what_reduction_loses_is_the_tail_of_the_singular_values(kind, targets, base, made, tmp_path) -> None:
    paths = [made(targets["sd1"], "lora", 5, 0), made(targets["sd1"], kind, 5, 1)]
    out = tmp_path / "out.safetensors"
    reduction = Reduction(rank=3)
    report = merge(paths, [1.0, 0.6], base, out, method="svd", target=EXACT.model_copy(update={"reduction": reduction}))
    wanted = stacked(paths, [1.0, 0.6], targets["sd1"], nothing(targets["sd1"]))
    found = stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"]))
    for each in report.modules:
        key = (each.component, each.module)
        matrix = wanted[key].flatten(1).numpy()
        values = np.linalg.svd(matrix, compute_uv=False)
        tail = np.sqrt((values[3:] ** 2).sum())
        assert np.linalg.norm(found[key].flatten(1).numpy() - matrix) == pytest.approx(tail, rel=1e-3)
        assert each.rank == 3
        assert each.energy == pytest.approx((values[:3] ** 2).sum() / (values**2).sum(), rel=1e-5)
        if kind != "full":  # whose biases count too
            assert each.error == pytest.approx(tail / np.linalg.norm(matrix), rel=1e-3)


@pytest.mark.parametrize(("rule", "keep"), [("energy", 0.9), ("ratio", 3.0), ("cumulative", 0.8)])
def test_a_dynamic_rank_is_the_least_that_its_rule_allows(rule, keep, targets, base, made, tmp_path) -> None:
    paths = [made(targets["sd1"], "lora", 5, 0), made(targets["sd1"], "lora", 16, 1)]
    target = EXACT.model_copy(update={"reduction": Reduction(rule=rule, keep=keep)})
    report = merge(paths, [1.0, 0.3], base, tmp_path / "out.safetensors", method="dynamic", target=target)
    wanted = stacked(paths, [1.0, 0.3], targets["sd1"], nothing(targets["sd1"]))
    for each in report.modules:
        values = np.linalg.svd(wanted[each.component, each.module].flatten(1).numpy(), compute_uv=False)
        if rule == "ratio":
            expected = int((values > values[0] / keep).sum())
        else:
            sums = np.cumsum(values**2 if rule == "energy" else values)
            expected = int(np.argmax(sums >= sums[-1] * keep)) + 1
        assert each.rank == expected


def test_a_loha_of_large_rank_keeps_999_parts_of_its_energy_unless_all_is_asked_for(
    targets, base, made, tmp_path
) -> None:
    path = made(targets["sd1"], "loha", 5, 0)
    wanted = stacked([path], [1.0], targets["sd1"], nothing(targets["sd1"]))
    for kind, limit in (("auto", 0.0317), ("lora", 1e-5), ("full", 1e-6)):
        out = tmp_path / f"{kind}.safetensors"
        report = merge([path], [1.0], base, out, target=AdapterTarget(kind=kind, dtype="float32"))
        assert worst(stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"])), wanted) < limit
        assert any("99.9 %" in notice for notice in report.notices) == (kind == "auto")
        assert all(each.energy >= 0.999 for each in report.modules)


def test_the_error_of_a_float16_file_is_told(targets, base, made, tmp_path) -> None:
    paths = [made(targets["sd1"], "lora", 5, 0), made(targets["sd1"], "lora", 3, 1)]
    out = tmp_path / "out.safetensors"
    report = merge(paths, [1.0, 0.6], base, out, target=AdapterTarget())
    wanted = stacked(paths, [1.0, 0.6], targets["sd1"], nothing(targets["sd1"]))
    found = stacked([out], [1.0], targets["sd1"], nothing(targets["sd1"]))
    error = sum(float((found[key] - wanted[key]).square().sum()) for key in wanted)
    size = sum(float(wanted[key].square().sum()) for key in wanted)
    assert report.parity == pytest.approx((error / size) ** 0.5, rel=1e-2)
    assert 1e-6 < report.parity < 1e-3
    header = read_header(out)
    assert {info.dtype for info in header.tensors.values()} == {"F16"}
    assert report.auto_v3 == auto_v3_of(out) == header.metadata["sshs_model_hash"]
    assert report.size_bytes == out.stat().st_size
