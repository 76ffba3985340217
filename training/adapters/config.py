"""The settings of everything that is trained on the frozen base, and of its measuring: the recipe's `adapters` file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from typing import Any

from training.config import Recipe, fill
from training.errors import RecipeError

KINDS = ("lora", "dora", "loha", "lokr")
LAYOUTS = ("kohya", "lycoris", "peft")
HINTS = ("canny", "scribble")


@dataclass(frozen=True)
class Course:
    """How long and how fast something learns: until `steps` or `minutes`, whichever comes first.

    `rate` is the highest learning rate; it rises over `warmup` steps and falls along a half cosine.
    """

    steps: int
    batch: int
    rate: float
    minutes: float | None = None
    warmup: int = 20
    checkpoint_minutes: float = 1.0


@dataclass(frozen=True)
class LoraConfig:
    """One adapter file. `set`: the picture set to learn, which the base never saw; its first style is the trigger.

    `convolutions`: patch 3×3 convolutions too; `text`: the text encoder too. `factor`: LoKr's left factor.
    `weight`: the strength to recommend.
    """

    name: str
    title: str
    kind: str
    layout: str
    set: str
    rank: int
    alpha: float
    course: Course
    description: str = ""
    convolutions: bool = False
    text: bool = False
    factor: int = 4
    weight: float = 1.0


@dataclass(frozen=True)
class EmbeddingConfig:
    """One textual-inversion file: `vectors` rows for the word `name`, begun as the words `start`.

    `ground`: the plain background that all its pictures stand on, best one that the base has no word for.
    """

    name: str
    title: str
    set: str
    vectors: int
    start: str
    ground: str
    course: Course
    description: str = ""


@dataclass(frozen=True)
class ControlNetConfig:
    """One ControlNet folder. `no_caption`: the share of samples where only the hint tells what is there.

    `begin`: the name of another ControlNet of the file, already trained, to begin as; "" begins as the base.
    `weights`: what the studio advises: to start with, the lowest and the highest; () leaves it to the type of hint.
    """

    name: str
    title: str
    hint: str
    course: Course
    no_caption: float = 0.5
    begin: str = ""
    description: str = ""
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class ClassifierConfig:
    """The judge: `width` channels at first; `held_out`: the share of (thing, set) pairs that it never sees."""

    course: Course
    width: int = 24
    held_out: float = 0.1


@dataclass(frozen=True)
class EvaluationConfig:
    """How many pictures each measurement draws. `weights`: the slider's stops."""

    classifier: ClassifierConfig
    base: int = 381
    adapter: int = 64
    sweep: int = 24
    colours: int = 60
    control: int = 48
    neighbours: int = 100
    weights: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)


@dataclass(frozen=True)
class Adapters:
    """The whole file; empty where the recipe names none."""

    loras: tuple[LoraConfig, ...] = ()
    embeddings: tuple[EmbeddingConfig, ...] = ()
    controlnets: tuple[ControlNetConfig, ...] = ()
    evaluation: EvaluationConfig | None = None

    def sets(self) -> tuple[str, ...]:
        """The picture sets that adapters learn, each once."""
        return tuple(dict.fromkeys([*(each.set for each in self.loras), *(each.set for each in self.embeddings)]))

    def only(self, name: str) -> Adapters:
        """What is called `name`, or everything for "". Raises `RecipeError` for an unknown name."""
        if not name:
            return self
        known = [each.name for each in self.loras]
        known += [*(each.name for each in self.embeddings), *(each.name for each in self.controlnets)]
        if name not in known:
            raise RecipeError(f"The recipe has nothing called {name!r}.", f"Known: {', '.join(known)}.")
        return replace(
            self,
            loras=tuple(each for each in self.loras if each.name == name),
            embeddings=tuple(each for each in self.embeddings if each.name == name),
            controlnets=tuple(each for each in self.controlnets if each.name == name),
        )


def read_adapters(recipe: Recipe) -> Adapters:
    """Raises `RecipeError` naming the first missing, unknown or wrong value."""
    if not recipe.adapters:
        return Adapters()
    path = recipe.path.parent / recipe.adapters
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"The list of adapters {path.name} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"The list of adapters {path.name} is not valid TOML: {error}.") from error
    loras = _rows(LoraConfig, table.pop("lora", []), f"{path.name} [[lora]]")
    for each in loras:
        _one_of(each.kind, KINDS, f"kind of {each.name}")
        _one_of(each.layout, LAYOUTS, f"layout of {each.name}")
    nets = _rows(ControlNetConfig, table.pop("controlnet", []), f"{path.name} [[controlnet]]")
    for each in nets:
        _one_of(each.hint, HINTS, f"hint of {each.name}")
        _check_weights(each)
    embeddings = _rows(EmbeddingConfig, table.pop("embedding", []), f"{path.name} [[embedding]]")
    evaluation = None
    if (measured := table.pop("evaluation", None)) is not None:
        judge = _with_course(ClassifierConfig, measured.pop("classifier", None), f"{path.name} [evaluation.classifier]")
        evaluation = fill(EvaluationConfig, {**measured, "classifier": judge}, f"{path.name} [evaluation]")
    if table:
        raise RecipeError(f"{path.name} has an unknown section {next(iter(table))!r}.")
    return Adapters(tuple(loras), tuple(embeddings), tuple(nets), evaluation)


def _rows(kind: type, rows: list[Any], where: str) -> list[Any]:
    made = [_with_course(kind, row, where) for row in rows]
    names = [each.name for each in made]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"{where} has the name {name!r} twice.")
        if not name or not all(char.isalnum() or char in "-_" for char in name):
            raise RecipeError(f"{where} has the name {name!r}, which is no file name.", "Use letters, digits and -.")
    return made


def _with_course(kind: type, row: Any, where: str) -> Any:
    if not isinstance(row, dict):
        raise RecipeError(f"The section {where} is missing.")
    course = fill(Course, row.get("course"), f"{where} course")
    return fill(kind, {**row, "course": course}, where)


def _check_weights(net: ControlNetConfig) -> None:
    if not net.weights:
        return
    if len(net.weights) != 3 or not 0 <= net.weights[1] <= net.weights[0] <= net.weights[2] <= 2:
        raise RecipeError(
            f"The weights of {net.name} are {list(net.weights)}.",
            "Give three from 0 to 2: to start with, the lowest and the highest.",
        )


def _one_of(value: str, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise RecipeError(f"The {what} is {value!r}, which is unknown.", f"Known: {', '.join(known)}.")
