"""The model card's paragraphs about adapters, ControlNets and measurements, from the report of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.adapters.config import Adapters
from training.adapters.metadata import trigger_of
from training.data.sets import SETS
from training.reports import read_report

KIND_WORDS = {"lora": "LoRA", "dora": "DoRA", "loha": "LoHa", "lokr": "LoKr"}
LAYOUT_WORDS = {"kohya": "kohya keys", "lycoris": "LyCORIS keys", "peft": "diffusers keys"}


def adapters_lines(adapters: Adapters, folder: Path, model: Path) -> list[str]:
    """Paragraphs in Markdown; only about files that are in the folder `model`."""
    report = read_report(folder)
    return [*_tables(adapters, report, model), *_measured(adapters, report, model)]


def _tables(adapters: Adapters, report: dict[str, Any], model: Path) -> list[str]:
    rows = []
    for lora in adapters.loras:
        if (model / "loras" / f"{lora.name}.safetensors").exists():
            run = report.get(lora.name, {})
            kind = KIND_WORDS[lora.kind] + (" with convolutions" if lora.convolutions else "")
            kind += " and text encoder" if lora.text else ""
            layout = LAYOUT_WORDS[lora.layout]
            rows.append(
                f"| `loras/{lora.name}` | {kind}, {layout}, rank {lora.rank} | “{trigger_of(lora.set)}” "
                f"| {SETS[lora.set].title} | {_run(run)} |"
            )
    for word in adapters.embeddings:
        if (model / "embeddings" / f"{word.name}.safetensors").exists():
            rows.append(
                f"| `embeddings/{word.name}` | textual inversion, {word.vectors} vectors | “{word.name}” "
                f"| {SETS[word.set].title} | {_run(report.get(word.name, {}))} |"
            )
    for net in adapters.controlnets:
        if (model / "controlnet" / net.name).is_dir():
            rows.append(
                f"| `controlnet/{net.name}` | ControlNet | {net.hint} picture | the base's sets "
                f"| {_run(report.get(net.name, {}))} |"
            )
    if not rows:
        return []
    head = "| File | Kind | Called by | Learnt from | Training |\n|---|---|---|---|---|\n"
    return [
        "## What fits it\nTrained on the frozen base by `python -m training lora` and `controlnet`; the adapters' sets "
        "were not part of the base's training.",
        head + "\n".join(rows),
    ]


def _run(run: dict[str, Any]) -> str:
    if not run:
        return "?"
    return f"{run['steps']:.0f} steps, {run['minutes']:.1f} minutes, loss {run['loss']:.3f}"


def _measured(adapters: Adapters, report: dict[str, Any], model: Path) -> list[str]:
    judge, base = report.get("judge"), report.get("measured: base")
    if not judge or not base:
        return []
    lines = [
        "## Measured\n`python -m training evaluate`. A small classifier, trained on real pictures only and for "
        "this alone, says which thing and which style a picture shows. On "
        f"{judge['held_out']:.0f} real pictures that it never saw it is right about the thing in "
        f"{judge['real_thing_first']:.0%} ({judge['real_thing_in_5']:.0%} among five) and the style in "
        f"{judge['real_style']:.0%}; after the autoencoder's round trip in {judge['tripped_thing_first']:.0%} "
        f"({judge['tripped_thing_in_5']:.0%}) and {judge['tripped_style']:.0%}. {_trust(judge)}"
        "All pictures below: plain diffusers, default steps and guidance.",
        _goals(report),
    ]
    rows = []
    for lora in adapters.loras:
        found = report.get(f"measured: {lora.name}")
        if found and (model / "loras" / f"{lora.name}.safetensors").exists():
            stops = [(key.removeprefix("style_at_"), value) for key, value in found.items() if "style_at_" in key]
            sweep = " · ".join(f"{value:.2f}" for _, value in sorted(stops, key=lambda stop: float(stop[0])))
            rows.append(
                f"| {lora.name}, {found['pictures']:.0f} pictures | {found['off_style']:.0%} → {found['style']:.0%} "
                f"| {judge.get(f'tripped_style_of_{lora.set}', 0.0):.0%} | {found['off_thing_in_5']:.0%} → "
                f"{found['thing_in_5']:.0%} | {sweep} |"
            )
    if rows:
        marks = " · ".join(f"{weight:g}" for weight in adapters.evaluation.weights) if adapters.evaluation else ""
        head = (
            "| Adapter | Style off → on (goal 80%) | The judge on real pictures of that style, after the autoencoder "
            f"| Thing among five, off → on | Style probability at {marks} |\n|---|---|---|---|---|\n"
        )
        lines.append(head + "\n".join(rows))
    rows = []
    for word in adapters.embeddings:
        if found := report.get(f"measured: {word.name}"):
            rows.append(
                f"Textual inversion `{word.name}`, {found['pictures']:.0f} pictures, without → with: {word.ground} "
                f"background {found['off_ground']:.0%} → {found['ground']:.0%}, style of its set "
                f"{found['off_style']:.0%} → {found['style']:.0%}, thing among five {found['off_thing_in_5']:.0%} → "
                f"{found['thing_in_5']:.0%}; a pixel changes by {found['moved']:.0f} of 255 on average."
            )
    for name, found in report.items():
        if name.startswith("measured: ") and " + " in name:
            rows.append(
                f"Two at 0.5 each, {name.removeprefix('measured: ')}, {found['pictures']:.0f} pictures: thing among "
                f"five {found['thing_in_5']:.0%}, probability of one of the two styles {found['either']:.2f}."
            )
    lines += ["\n\n".join(rows)] if rows else []
    rows = [
        f"| {net.name}, {found['pictures']:.0f} pictures "
        f"| {found['f1_at_0']:.2f} · {found['f1_at_0.5']:.2f} · {found['f1_at_1']:.2f} "
        f"| {found['ceiling']:.2f} | {found['thing_at_0']:.0%} → {found['thing_at_1']:.0%} |"
        for net in adapters.controlnets
        if (found := report.get(f"measured: {net.name}"))
    ]
    if rows:
        lines.append(
            "| ControlNet | F1 of lines (1 px) at 0 · 0.5 · 1 (goal 0.60) | F1 of real pictures after the autoencoder "
            "| Thing among five |\n|---|---|---|---|\n" + "\n".join(rows)
        )
    return [line for line in lines if line]


def _trust(judge: dict[str, Any]) -> str:
    """A warning where the judge is worse than was wanted (90% and 95%), else ""."""
    if judge["real_thing_first"] >= 0.9 and judge["real_style"] >= 0.95:
        return ""
    return (
        "Wanted were 90% and 95%: this judge is weak, so the numbers below are a hint, not a proof, above all those of "
        "styles that resemble each other. "
    )


def _goals(report: dict[str, Any]) -> str:
    base, colours = report["measured: base"], report.get("measured: colours", {})
    judge = report["judge"]
    rows = [
        ("Base, thing among five", base["thing_in_5"], "75%", judge["tripped_thing_in_5"]),
        ("Base, thing first", base["thing_first"], "", judge["tripped_thing_first"]),
        ("Base, style, out of all the judge's styles", base["style"], "85%", judge["tripped_style"]),
    ]
    if "style_of_own" in base:
        real = judge.get("tripped_style_of_own")
        rows.append(("Base, style, out of the base's own", base["style_of_own"], "85%", real))
    if "known_right" in colours:
        words = f"Colour words on {colours['known_prompts']:.0f} learnt things"
        rows.append((words, colours["known_right"], "70%", None))
    if "other_right" in colours:
        rows.append((f"Colour words on {colours['other_prompts']:.0f} other things", colours["other_right"], "", None))
    table = "\n".join(
        f"| {name} | {value:.0%} | {goal} | {'' if real is None else f'{real:.0%}'} |"
        for name, value, goal, real in rows
    )
    head = "| Measured | Reached | Goal | The judge on real pictures after the autoencoder |\n|---|---|---|---|\n"
    near = (
        f"Of {base['near_pictures']:.0f} of these pictures, the nearest learnt one (16×16 px) shows the right thing in "
        f"{base['near_right_thing']:.0%} and the right style in {base['near_right_style']:.0%}; the median distance to "
        f"it is {base['near_distance']:.4f}, that of two different learnt pictures "
        f"{base['near_distance_between_learnt']:.4f}. So it draws likenesses of what it learnt: see "
        "docs/starter-kit.md."
    )
    return f"{base['pictures']:.0f} pictures.\n\n{head}{table}\n\n{near}"
