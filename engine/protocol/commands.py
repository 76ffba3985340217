"""Commands and queries: the dozen things that a client may ask of the engine.

Each command names the type of its answer, so `client.call(SubmitJob(spec=…))` is a `JobView` for the type checker too.
`owner` is who asks; the web process fills it in from the login, so an engine answers only about that owner's things.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field, JsonValue

from engine.protocol.adapters import (
    AdapterDetails,
    AdapterPage,
    CompletionList,
    NamedStack,
    StackList,
    StackReport,
    SuggestionList,
)
from engine.protocol.controls import ControlCatalogue, HintView
from engine.protocol.events import EngineState
from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ImageView, JobStatus, JobView, Rebuilt
from engine.protocol.library import FileKind, FileView, ModelDefaults, ModelView, SamplerView
from engine.protocol.notices import Notice
from engine.protocol.specs import AdapterRef, GenerationSpec, ResizeMode

Reply = TypeVar("Reply", bound=Frozen)
LOCAL_OWNER = "local"


class Command(Frozen, Generic[Reply]):
    """Base of all commands. `name` is what goes over the wire; `reply_type` is read from the type argument."""

    name: ClassVar[str] = ""
    reply_type: ClassVar[type[Frozen]] = Frozen
    owner: str = LOCAL_OWNER

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for base in cls.__mro__[1:]:
            arguments = getattr(base, "__pydantic_generic_metadata__", {}).get("args", ())
            if arguments and not isinstance(arguments[0], TypeVar):
                cls.reply_type = arguments[0]
                COMMANDS[cls.name] = cls
                return


COMMANDS: dict[str, type[Command[Any]]] = {}


# --- answers -------------------------------------------------------------------------------------------------------


class Done(Frozen):
    """It was done; `count` of what it was done to, where that says something."""

    count: int = 0


class EngineStatus(Frozen):
    """What the engine is doing. `device` in words; `last_seq` is the newest event, to attach a stream after it."""

    state: EngineState
    message: str = ""
    fraction: float | None = None
    pid: int = 0
    device: str = ""
    queued: int = 0
    running: int = 0
    last_seq: int = 0


class JobList(Frozen):
    jobs: tuple[JobView, ...]


class ModelList(Frozen):
    models: tuple[ModelView, ...]
    default: str = ""
    folders: tuple[str, ...] = ()


class FileList(Frozen):
    files: tuple[FileView, ...]


class SamplerList(Frozen):
    samplers: tuple[SamplerView, ...]


class ImagePage(Frozen):
    """A page of the history, newest first. `next_cursor` is None on the last page; `total` counts all matches
    (of a text search at most 50 000)."""

    images: tuple[ImageView, ...]
    next_cursor: str | None = None
    total: int = 0


class ImageFile(Frozen):
    """Where a picture of the history lies on this machine; never sent to a browser."""

    path: str
    media_type: str


class AssetRef(Frozen):
    """A picture that specs refer to: `ref` is `asset:<sha256>`."""

    ref: str
    media_type: str
    width: int
    height: int


class Recipe(Frozen):
    """Settings that were read from a picture. `source` names the dialect: easel, a1111, …; "" where none was found."""

    spec: GenerationSpec | None = None
    source: str = ""
    infotext: str = ""
    notices: tuple[Notice, ...] = ()


class TokenCount(Frozen):
    """Tokens of a prompt without the start and end marks; `limit` is the next multiple of 75; `chunks` of 75."""

    tokens: int
    limit: int
    chunks: int
    notices: tuple[Notice, ...] = ()


class Style(Frozen):
    name: str
    prompt: str = ""
    negative_prompt: str = ""


class StyleList(Frozen):
    styles: tuple[Style, ...]


class Value(Frozen):
    """A stored value, or None."""

    value: JsonValue = None


class MetricsText(Frozen):
    """Metrics in Prometheus' text format."""

    text: str


# --- jobs ----------------------------------------------------------------------------------------------------------


class SubmitJob(Command[JobView]):
    """Check a spec, store it durably, and queue it. `request_id` makes a repeated submit answer the same job."""

    name = "submit_job"
    spec: GenerationSpec
    priority: Literal["high", "normal", "relaxed"] = "normal"
    request_id: str | None = None


class GetJob(Command[JobView]):
    name = "get_job"
    job_id: str


class ListJobs(Command[JobList]):
    """The owner's jobs, newest first; `active` keeps only queued and running ones, in queue order."""

    name = "list_jobs"
    active: bool = False
    status: JobStatus | None = None
    limit: int = Field(default=50, ge=1, le=500)


class CancelJob(Command[JobView]):
    """Cancel a job, or skip only one picture of it (`job_index`). Finished pictures are kept."""

    name = "cancel_job"
    job_id: str
    job_index: int | None = None


class EnlargeImage(Command[JobView]):
    """Queue a picture of the history to be made 2 or 4 times as large; the result is another picture.

    `upscaler` None is the first file of the library.
    """

    name = "enlarge_image"
    image_id: str
    factor: int = 2
    upscaler: str | None = None


class CheckSpec(Command[JobView]):
    """Resolve a spec as `SubmitJob` would, without queueing it: the view has id "" and the notices."""

    name = "check_spec"
    spec: GenerationSpec


# --- library -------------------------------------------------------------------------------------------------------


class ListModels(Command[ModelList]):
    """Base models; `refresh` looks at the folders again first."""

    name = "list_models"
    refresh: bool = False


class ListFiles(Command[FileList]):
    name = "list_files"
    kind: FileKind


class ListSamplers(Command[SamplerList]):
    name = "list_samplers"


class SaveModelDefaults(Command[Done]):
    """Keep values as this model's own defaults; an empty `defaults` goes back to the family's."""

    name = "save_model_defaults"
    model: str
    defaults: ModelDefaults


class ListStyles(Command[StyleList]):
    name = "list_styles"


class SaveStyle(Command[StyleList]):
    """Add or replace a style in styles.csv; `delete` removes it."""

    name = "save_style"
    style: Style
    delete: bool = False


# --- adapters ------------------------------------------------------------------------------------------------------


class ListAdapters(Command[AdapterPage]):
    """A page of adapters. Each word of `query` must occur in name, title, trigger words or tags; best fit first, else
    by title. `folder` and `family` narrow it; `refresh` looks at the folders again (many new files appear later)."""

    name = "list_adapters"
    query: str = ""
    family: str | None = None
    folder: str | None = None
    limit: int = Field(default=60, ge=1, le=500)
    cursor: str | None = None
    refresh: bool = False


class GetAdapter(Command[AdapterDetails]):
    """One adapter by id, title, file name or hash."""

    name = "get_adapter"
    adapter_id: str


class LocatePreview(Command[ImageFile]):
    """The preview picture of an adapter; one that is embedded is written out first."""

    name = "locate_preview"
    adapter_id: str


class CheckStack(Command[StackReport]):
    """What of each adapter fits the model (None: the default), from headers only. `conflicts` reads weights too, and
    `impact` measures how strongly each changes the model."""

    name = "check_stack"
    model: str | None = None
    adapters: tuple[AdapterRef, ...]
    conflicts: bool = False
    impact: bool = False


class SuggestAdapters(Command[SuggestionList]):
    """Adapters that fit the prompt as typed. Nothing is applied. `forget` clears what was learnt of the owner's use."""

    name = "suggest_adapters"
    prompt: str = ""
    model: str | None = None
    limit: int = Field(default=8, ge=1, le=50)
    forget: bool = False


class CompletePrompt(Command[CompletionList]):
    """What the unfinished word `prefix` may become: adapters, trigger words, embeddings, words of one's history."""

    name = "complete_prompt"
    prefix: str
    limit: int = Field(default=12, ge=1, le=50)


class ListStacks(Command[StackList]):
    name = "list_stacks"


class SaveStack(Command[StackList]):
    """Keep a stack under its name, or replace the one of that name; `delete` removes it."""

    name = "save_stack"
    stack: NamedStack
    delete: bool = False


# --- controls ------------------------------------------------------------------------------------------------------


class ListControls(Command[ControlCatalogue]):
    """ControlNets, their types and the preprocessors; with a model (None: none), what fits it."""

    name = "list_controls"
    model: str | None = None


class PreviewHint(Command[HintView]):
    """Make the hint that a unit would have, or find it: an asset. `width` and `height` are those of the picture to be
    made, for a `resolution` of None; without them it is 512 px."""

    name = "preview_hint"
    image: str
    preprocessor: str = "none"
    parameters: dict[str, float] = Field(default_factory=dict)
    resolution: int | None = None
    width: int | None = None
    height: int | None = None
    resize: ResizeMode = "crop"


# --- prompts and pictures ------------------------------------------------------------------------------------------


class CountTokens(Command[TokenCount]):
    name = "count_tokens"
    prompt: str
    model: str | None = None


class ReadRecipe(Command[Recipe]):
    """Read the settings out of a picture's metadata (`data`, base64) or out of pasted infotext (`text`)."""

    name = "read_recipe"
    data: str | None = None
    text: str | None = None


class PutAsset(Command[AssetRef]):
    """Keep a picture (base64) beside the outputs under its content hash."""

    name = "put_asset"
    data: str


class LocateAsset(Command[ImageFile]):
    name = "locate_asset"
    ref: str


# --- history -------------------------------------------------------------------------------------------------------


class SearchHistory(Command[ImagePage]):
    """The owner's pictures, newest first; every word of `query` must occur in prompt, model or infotext."""

    name = "search_history"
    query: str = ""
    model: str | None = None
    favourite: bool | None = None
    limit: int = Field(default=60, ge=1, le=500)
    cursor: str | None = None


class GetImage(Command[ImageView]):
    name = "get_image"
    image_id: str


class LocateImage(Command[ImageFile]):
    """The file of a picture, by its name under `outputs/`; unknown names are refused."""

    name = "locate_image"
    image_name: str


class DeleteImages(Command[Done]):
    """Move pictures to the bin (kept 30 days, so it can be undone)."""

    name = "delete_images"
    image_ids: tuple[str, ...]


class RestoreImages(Command[Done]):
    name = "restore_images"
    image_ids: tuple[str, ...]


class MarkImage(Command[ImageView]):
    name = "mark_image"
    image_id: str
    favourite: bool | None = None
    tags: tuple[str, ...] | None = None


class RebuildHistory(Command[Rebuilt]):
    """Read every picture under `outputs/` again."""

    name = "rebuild_history"


# --- engine --------------------------------------------------------------------------------------------------------


class GetStatus(Command[EngineStatus]):
    name = "get_status"


class GetMetrics(Command[MetricsText]):
    name = "get_metrics"


class GetValue(Command[Value]):
    """A stored value of the owner (form values, presets); keys are "area.name"."""

    name = "get_value"
    key: str


class SetValue(Command[Done]):
    name = "set_value"
    key: str
    value: JsonValue
