"""What an adapter is extracted from: the difference of two checkpoints, or what a stack makes of one, less it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from engine.adapters.modules import ModuleKey, Targets
from engine.errors import MergeError
from engine.library.entries import ModelEntry
from engine.library.hashing import data_hash
from engine.merge.bases import model_hash, opened_model, targets_of_model
from engine.merge.delta import Delta
from engine.merge.files import RecipeFiles
from engine.merge.methods.weighted_sum import WeightedSum
from engine.merge.module_merge import ModuleMerger
from engine.merge.recipe_checks import require_inputs, require_one_family
from engine.merge.sources import adapter_source, opened
from engine.protocol.merge import AdapterTarget, ExtractRecipe, MergeRecipe

Changes = Callable[[ModuleKey], Delta]
Source = tuple[str, str, Mapping[str, str]]
"""(title, AutoV3 in hex, its own metadata)."""


@dataclass(frozen=True)
class Difference:
    """Attributes: `opened` maps the files and answers each module's change; `sources` hashes them, which takes time."""

    targets: Targets
    opened: Callable[[], AbstractContextManager[Changes]]
    sources: Callable[[], list[Source]]


def model_difference(recipe: ExtractRecipe, files: RecipeFiles) -> Difference:
    """`tuned` − `base`.

    Raises:
        MergeError: `merge_inputs_missing`, `merge_twice`, `merge_families_differ`, `merge_models_differ`.
        ModelFileError: one of them cannot be used.
    """
    if not recipe.tuned:
        raise MergeError(
            "merge_inputs_missing", "The recipe names nothing to extract from.", "Name a tuned checkpoint, or adapters."
        )
    tuned, base = files.model(recipe.tuned), files.model(recipe.base)
    if tuned.path.resolve() == base.path.resolve():
        raise MergeError(
            "merge_twice", "Both models are the same file, so there is no difference.", "Choose another base."
        )
    require_one_family({tuned.view.title: tuned.family.id, base.view.title: base.family.id}, "")
    targets = targets_of_model(base)
    if targets_of_model(tuned).modules != targets.modules:
        raise MergeError(
            "merge_models_differ",
            f"{tuned.view.title} and {base.view.title} have layers of different shapes.",
            "Choose models of one shape.",
        )

    @contextmanager
    def opened_both() -> Iterator[Changes]:
        with opened_model(tuned, targets) as new, opened_model(base, targets) as own:

            def change(key: ModuleKey) -> Delta:
                target = targets.modules[key]
                moved = new.weight(key).float() - own.weight(key).float()
                before, after = own.bias(key), new.bias(key)
                bias = None if before is None or after is None else after.float() - before.float()
                dense = moved.reshape(target.shape[0], -1)
                return Delta(target.shape, dense=dense, bias=bias, norm_layer=target.kind == "norm")

            yield change

    return Difference(targets, opened_both, lambda: [_named(entry) for entry in (tuned, base)])


def stack_difference(recipe: ExtractRecipe, files: RecipeFiles) -> Difference:
    """What the adapters together make of `base`, less it: exact for every kind, those that need the base included.

    Raises:
        MergeError: `merge_twice`, `merge_weights_zero`. AdapterError, ModelFileError: one of the files cannot be used.
    """
    if recipe.tuned:
        raise MergeError(
            "merge_inputs_missing", "The recipe names a checkpoint and adapters to extract from.", "Leave one out."
        )
    require_inputs(recipe.inputs, files.adapters)
    base = files.model(recipe.base)
    targets = targets_of_model(base)
    paths = [files.adapters[each.name] for each in recipe.inputs]
    sources = [adapter_source(path, targets, path.stem) for path in paths]
    # A reduction is asked for, so nothing stays in a kind of its own.
    asked = AdapterTarget(kind="lora", reduction=recipe.reduction, text_encoders=recipe.text_encoders)
    merge = MergeRecipe(inputs=recipe.inputs, base=recipe.base, target=asked)

    @contextmanager
    def opened_all() -> Iterator[Changes]:
        with ExitStack() as stack:
            inputs = [stack.enter_context(opened(source, targets)) for source in sources]
            model = stack.enter_context(opened_model(base, targets))
            merger = ModuleMerger(merge, WeightedSum(), inputs, targets, model)
            touched = set(merger.keys)

            def change(key: ModuleKey) -> Delta:
                found = merger.merged(key).delta if key in touched else None
                return found if found is not None else Delta(targets.modules[key].shape)

            yield change

    return Difference(
        targets,
        opened_all,
        lambda: [(source.title, data_hash(source.path), source.header.metadata) for source in sources] + [_named(base)],
    )


def _named(entry: ModelEntry) -> Source:
    return entry.view.title, model_hash(entry), {}
