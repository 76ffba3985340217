"""What of an adapter fits a model, told from the file's header alone, with a reason for every key that does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from engine.adapters.keys import DIALECTS
from engine.adapters.keys.spelling import Spelling, split_dotted
from engine.adapters.keys.table import name_table
from engine.adapters.kinds.parts import Damaged, Incomplete, Misfit, Parts
from engine.adapters.modules import COMPONENTS, ModuleKey, TargetModule, Targets
from engine.adapters.reading import read_patch, unread
from engine.errors import AdapterError
from engine.library.adapters import adapter_identity
from engine.library.headers import Header
from engine.protocol.adapters import AdapterReport, ComponentMatch, Unmatched

EMBEDDING_PREFIX = "bundle_emb."
FAMILY_TITLES = {
    "sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "flux": "Flux", "sd3": "SD 3",
}  # fmt: skip
Reason = Literal["family", "missing", "shape", "incomplete", "unknown", "twice"]
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_Fit = tuple[Reason | Literal["damaged"] | None, str, frozenset[str]]
_SENTENCES: dict[Reason, str] = {
    "family": "They belong to another family of models ({}).",
    "missing": "The model has no module of that name.",
    "shape": "The shapes differ: {}, for example.",
    "incomplete": "Tensors that belong together are not all there: {}.",
    "unknown": "Nobody knows what these keys mean.",
    "twice": "The file changes the same module twice.",
}
# Names that only models of other families have.
_FOREIGN = {
    "lora_transformer_": "Flux or SD 3",
    "transformer.": "Flux or SD 3",
    "lora_unet_double_blocks": "Flux",
    "lora_unet_single_blocks": "Flux",
    "diffusion_model.double_blocks": "Flux",
    "diffusion_model.single_blocks": "Flux",
    "lora_unet_joint_blocks": "SD 3",
    "diffusion_model.joint_blocks": "SD 3",
    "lora_te3_": "SD 3 or Flux",
}
# What a module of another family looks like.
_BY_FAMILY: tuple[Reason, ...] = ("missing", "shape")
_EXAMPLES = 5


@dataclass(frozen=True)
class Loose:
    """One key of the file that changes nothing, and why. `module`: as the file spells it, the key where it has none."""

    key: str
    module: str
    component: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Matching:
    """A file's header laid over a model.

    Attributes:
        modules: what fits: module → suffix → the file's key.
        loose: every other key. damaged: what is broken inside the file, "" where nothing is.
        embeddings: keys of embedded textual inversions ("bundle_emb.<name>.…").
        file_family: what the header says the file was made for; "" where it does not tell.
    """

    modules: Mapping[ModuleKey, Mapping[str, str]]
    loose: tuple[Loose, ...]
    damaged: str
    embeddings: tuple[str, ...]
    file_family: str


@dataclass
class _Pile:
    """Keys of one module while they are being gathered."""

    written: str
    names: dict[str, str] = field(default_factory=dict)


def match(header: Header, targets: Targets, *, adapter_id: str = "", title: str = "") -> AdapterReport:
    """The report of a file against a model; no weight is read."""
    return report_of(match_names(header, targets), targets, adapter_id=adapter_id, title=title)


def match_names(header: Header, targets: Targets) -> Matching:
    """Every key of the file: where it goes, or why nowhere."""
    table = name_table(targets)
    piles: dict[ModuleKey, _Pile] = {}
    loose: list[Loose] = []
    embeddings: list[str] = []
    for name in header.tensors:
        if name.startswith(EMBEDDING_PREFIX):
            embeddings.append(name)
        elif (spelling := _spelling(name)) is None:
            loose.append(_unspelt(name))
        elif (key := table.find(spelling)) is None:
            loose.append(_absent(name, spelling, targets))
        else:
            pile = piles.setdefault(key, _Pile(spelling.written))
            if pile.names.setdefault(spelling.suffix, name) != name:
                loose.append(Loose(name, spelling.written, key[0], "twice"))
    modules: dict[ModuleKey, Mapping[str, str]] = {}
    damaged = ""
    # Most modules of a file have the shapes of another one.
    alike: dict[tuple[_Shapes, TargetModule], _Fit] = {}
    for key, pile in piles.items():
        shapes = tuple((suffix, header.tensors[name].shape) for suffix, name in pile.names.items())
        looked = shapes, targets.modules[key]
        if looked not in alike:
            alike[looked] = _fit(*looked)
        reason, detail, left = alike[looked]
        if reason is None:
            loose += [Loose(pile.names[suffix], pile.written, key[0], "unknown") for suffix in sorted(left)]
            modules[key] = {suffix: name for suffix, name in pile.names.items() if suffix not in left}
        elif reason == "damaged":
            damaged = damaged or f"in “{pile.written}” {detail}"
        else:
            loose += [Loose(name, pile.written, key[0], reason, detail) for name in pile.names.values()]
    family = adapter_identity(header.tensors, header.metadata, "").family
    if _differ(family, targets.family):
        title = FAMILY_TITLES.get(family, family)
        loose = [replace(each, reason="family", detail=title) if each.reason in _BY_FAMILY else each for each in loose]
    return Matching(modules, tuple(loose), damaged, tuple(embeddings), family)


def report_of(found: Matching, targets: Targets, *, adapter_id: str = "", title: str = "") -> AdapterReport:
    """The report for people: counts by component, reasons, one sentence for the badge."""
    lost: dict[str, Loose] = {}
    fitting = {each.module for each in found.loose if each.reason in ("unknown", "twice") and each.module != each.key}
    for each in found.loose:
        if each.module not in fitting:
            lost.setdefault(each.module, each)
    total = len(found.modules) + len(lost)
    family = _family_sentence(found, targets)
    stranger = bool(family) and bool(lost)
    return AdapterReport(
        id=adapter_id,
        title=title,
        matched=len(found.modules),
        total=total,
        components=_components(found, lost, targets),
        unmatched=_unmatched(found.loose),
        usable=bool(found.modules) and not stranger and not found.damaged,
        summary=_summary(found, total, lost, family if stranger or not found.modules else ""),
    )


def require_usable(report: AdapterReport, found: Matching, targets: Targets) -> None:
    """Refuse an adapter that would change nothing, or something by chance only.

    Raises:
        AdapterError: `adapter_damaged`, `adapter_family_mismatch`, `adapter_matches_nothing`.
    """
    if report.usable:
        return
    name = report.title or "The adapter"
    if found.damaged:
        raise AdapterError("adapter_damaged", f"{name} is damaged: {found.damaged}.", "Get the file again.")
    if family := _family_sentence(found, targets):
        raise AdapterError(
            "adapter_family_mismatch", f"{name} was {family}.", "Choose a model of its family, or another adapter."
        )
    raise AdapterError(
        "adapter_matches_nothing",
        f"{name} fits nothing in this model: {_lower(report.summary)}",
        "Its report says more; choose another model or adapter.",
    )


def _spelling(name: str) -> Spelling | None:
    return next((found for parse in DIALECTS if (found := parse(name)) is not None), None)


def _unspelt(name: str) -> Loose:
    foreign = next((title for prefix, title in _FOREIGN.items() if name.startswith(prefix)), "")
    split = split_dotted(name)
    return Loose(name, split[0] if split else name, "", "family" if foreign else "unknown", foreign)


def _absent(name: str, spelling: Spelling, targets: Targets) -> Loose:
    foreign = next((title for prefix, title in _FOREIGN.items() if name.startswith(prefix)), "")
    if not foreign and spelling.components == ("text_encoder_2",) and targets.family in ("sd1", "sd2"):
        foreign = FAMILY_TITLES["sdxl"]
    reason: Reason = "family" if foreign else "missing"
    return Loose(name, spelling.written, spelling.components[0], reason, foreign)


def _fit(shapes: _Shapes, target: TargetModule) -> _Fit:
    """(None, "", suffixes that nobody looks at) where the module's tensors fit; else why not."""
    tensors = {suffix: torch.empty(shape, device="meta") for suffix, shape in shapes}
    try:
        read_patch(Parts(tensors), target)
    except Misfit as error:
        return "shape", str(error), frozenset()
    except Incomplete as error:
        return "incomplete", str(error), frozenset()
    except Damaged as error:
        return "damaged", str(error), frozenset()
    return None, "", frozenset(unread(tensors))


def _components(found: Matching, lost: Mapping[str, Loose], targets: Targets) -> tuple[ComponentMatch, ...]:
    matched = Counter(component for component, _ in found.modules)
    conv = Counter(key[0] for key in found.modules if targets.modules[key].kind == "conv")
    absent = Counter(each.component for each in lost.values())
    return tuple(
        ComponentMatch(
            component=component,
            matched=matched[component],
            total=matched[component] + absent[component],
            conv=conv[component],
        )
        for component in COMPONENTS
        if matched[component] + absent[component]
    )


def _unmatched(loose: tuple[Loose, ...]) -> tuple[Unmatched, ...]:
    result: list[Unmatched] = []
    for reason in _SENTENCES:
        of_it = [each for each in loose if each.reason == reason]
        if of_it:
            modules = list(dict.fromkeys(each.module for each in of_it))
            result.append(
                Unmatched(
                    reason=_SENTENCES[reason].format(of_it[0].detail),
                    count=len(modules),
                    examples=tuple(modules[:_EXAMPLES]),
                )
            )
    return tuple(result)


def _family_sentence(found: Matching, targets: Targets) -> str:
    """ "made for SDXL, the model is SD 1.x"; "" where they agree or one of them does not tell."""
    if not _differ(found.file_family, targets.family):
        return ""
    titles = [FAMILY_TITLES.get(family, family) for family in (found.file_family, targets.family)]
    return f"made for {titles[0]}, the model is {titles[1]}"


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other


def _summary(found: Matching, total: int, lost: Mapping[str, Loose], family: str) -> str:
    matched = len(found.modules)
    if found.damaged:
        return f"The file is damaged: {found.damaged}."
    if not total:
        return "The file changes no module."
    if family:
        return f"{family[0].upper()}{family[1:]}: {matched} of {total} modules fit."
    if not lost:
        return f"All {total} modules fit." if total > 1 else "Its one module fits."
    why = Counter(each.reason for each in lost.values()).most_common(1)[0][0]
    example = next(each for each in lost.values() if each.reason == why)
    sentence = _lower(_SENTENCES[why].format(example.detail))
    return f"{matched or 'None'} of {total} modules fit{'' if matched else 's'}: {sentence}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
