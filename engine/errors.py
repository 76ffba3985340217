"""Every error that a person may see: one small tree, stable codes, one sentence each.

A `StudioError` says what is wrong (`message`), and what to do about it (`hint`). The user interface and REST clients
branch on `code`, never on the text. Each error round-trips over the wire, so the web process raises the same class that
the engine raised.
"""

from __future__ import annotations

from typing import Any, ClassVar


class StudioError(Exception):
    """Root of all errors that are shown to a person.

    Args:
        code: stable identifier out of the class's `codes`.
        message: one sentence: what is wrong, and why.
        hint: one sentence: what to do about it; may be empty.
    """

    status: ClassVar[int] = 500
    codes: ClassVar[tuple[str, ...]] = ("internal",)

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        if code not in self.codes:
            raise AssertionError(f"{type(self).__name__} has no code {code!r}; declare it in engine/errors.py")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_wire(self) -> dict[str, Any]:
        """The body of an error answer: `{"error": {"code", "message", "hint"}}`."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class SpecError(StudioError):
    """What was asked for cannot be made: a value out of range, an unknown name, an empty prompt."""

    status = 422
    codes = (
        "bad_request",
        "prompt_empty",
        "prompt_no_words",
        "prompt_too_long",
        "prompt_too_deep",
        "steps_out_of_range",
        "guidance_out_of_range",
        "size_out_of_range",
        "size_not_multiple",
        "count_out_of_range",
        "comparison_out_of_range",
        "seed_out_of_range",
        "fraction_out_of_range",
        "sampler_unknown",
        "schedule_unknown",
        "combination_unknown",
        "model_unknown",
        "vae_unknown",
        "upscaler_unknown",
        "adapter_unknown",
        "style_unknown",
        "extension_unknown",
        "extension_unusable",
        "setting_unusable",
        "upload_too_large",
        "image_unreadable",
        "memory_level_unknown",
        "memory_policy_unknown",
        "memory_budget_out_of_range",
        "dtype_unknown",
        "not_built_yet",
    )


class ModelFileError(StudioError):
    """A model file cannot be used: truncated, not a model, unsafe, of a family that Easel does not know."""

    status = 422
    codes = (
        "model_file_missing",
        "model_file_truncated",
        "model_file_not_a_model",
        "model_file_unsafe",
        "model_file_unsupported",
        "model_file_changed",
        "model_file_damaged",
        "model_parts_missing",
    )


class AdapterError(StudioError):
    """An adapter file is one, but cannot be used: for another model, damaged, or with values that are no numbers."""

    status = 422
    codes = (
        "adapter_family_mismatch",
        "adapter_matches_nothing",
        "adapter_not_finite",
        "adapter_damaged",
        "adapter_weight_out_of_range",
        "adapter_blocks_unknown",
        "adapter_overflow",
        "adapter_twice",
    )


class MergeError(StudioError):
    """A merge cannot be made as its recipe says. Nothing is written."""

    status = 422
    codes = (
        "merge_inputs_missing",
        "merge_twice",
        "merge_weights_zero",
        "merge_families_differ",
        "merge_base_needed",
        "merge_method_unknown",
        "merge_method_failed",
        "merge_option_out_of_range",
        "merge_rank_out_of_range",
        "merge_layout_cannot",
        "merge_models_differ",
        "merge_not_finite",
        "merge_nothing_left",
        "merge_name_invalid",
        "merge_check_failed",
        "merge_details_invalid",
    )


class ControlError(StudioError):
    """A ControlNet unit cannot be used: its model, its picture, its preprocessor or its numbers."""

    status = 422
    codes = (
        "control_unknown",
        "control_mismatch",
        "control_unsupported",
        "control_type_unknown",
        "control_image_missing",
        "control_image_unusable",
        "control_weight_out_of_range",
        "control_window_empty",
        "control_value_out_of_range",
        "preprocessor_unknown",
        "preprocessor_unavailable",
        "preprocessor_failed",
        "annotator_missing",
        "annotator_unusable",
        "image_encoder_missing",
    )


class ConfigError(StudioError):
    """`config.toml`, an extension's manifest or a command-line option is wrong."""

    status = 400
    codes = (
        "config_unknown_key",
        "config_bad_value",
        "config_unreadable",
        "listen_without_password",
        "manifest_invalid",
    )


class SetupError(StudioError):
    """launch.py cannot set up or start the studio on this machine."""

    codes = (
        "python_too_old",
        "python_incomplete",
        "setup_no_network",
        "setup_disk_full",
        "setup_no_permission",
        "setup_package_missing",
        "setup_failed",
        "setup_needed",
        "port_taken",
    )


class NotFoundError(StudioError):
    """The thing that was named does not exist, or is not this caller's."""

    status = 404
    codes = ("job_unknown", "image_unknown", "asset_unknown", "preview_unknown", "stack_unknown", "route_unknown")


class ConflictError(StudioError):
    """The thing exists, but its state does not allow what was asked."""

    status = 409
    codes = ("data_folder_in_use", "job_already_finished", "store_too_new", "in_use", "merge_name_taken", "not_loaded")


class AccessError(StudioError):
    """The caller may not do this."""

    status = 403
    codes = ("not_allowed", "host_unknown", "origin_foreign", "login_required", "too_many_passwords")


class StorageError(StudioError):
    """The disk refuses: full, read-only, or damaged."""

    status = 507
    codes = ("disk_full", "disk_read_only", "disk_error", "store_damaged")


class OutOfMemoryError(StudioError):
    """The machine has not enough memory for the request."""

    status = 503
    codes = ("out_of_memory", "model_larger_than_budget", "pins_larger_than_budget")


class EngineLostError(StudioError):
    """The engine process died or hangs; it is being restarted and the queue is kept."""

    status = 503
    codes = ("engine_lost", "engine_starting", "engine_failed_to_start", "engine_token_wrong")


class GenerationError(StudioError):
    """The picture could not be finished: non-finite numbers in every precision, or a fault of a component."""

    status = 500
    codes = ("picture_not_finite", "generation_failed", "job_gave_up")


class InternalError(StudioError):
    """A fault of Easel itself. The log has the details."""

    codes = ("internal",)


LEAVES: tuple[type[StudioError], ...] = (
    SpecError,
    ModelFileError,
    AdapterError,
    ControlError,
    MergeError,
    ConfigError,
    SetupError,
    NotFoundError,
    ConflictError,
    AccessError,
    StorageError,
    OutOfMemoryError,
    EngineLostError,
    GenerationError,
    InternalError,
)


def from_wire(body: dict[str, Any]) -> StudioError:
    """The error that an `{"error": …}` body describes, of the class that owns its code.

    A code that this version does not know becomes an `InternalError` which keeps the text.
    """
    error = body.get("error", {})
    code, message, hint = error.get("code", ""), error.get("message", "Unknown error."), error.get("hint", "")
    for leaf in LEAVES:
        if code in leaf.codes:
            return leaf(code, message, hint)
    return InternalError("internal", message, hint)
