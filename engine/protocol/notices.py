"""Notices: whatever Easel decided by itself is told, and stored with the job."""

from __future__ import annotations

from typing import Literal

from engine.protocol.frozen import Frozen

NoticeCode = Literal[
    "value_clamped",
    "syntax_removed",
    "prompt_chunked",
    "sampler_advice",
    "size_advice",
    "model_default_used",
    "adapter_skipped",
    "adapter_from_prompt",
    "adapter_advice",
    "control_advice",
    "trigger_words_added",
    "embedding_used",
    "embedding_skipped",
    "keys_unmatched",
    "memory_level_lowered",
    "memory_level_raised",
    "level_not_measured",
    "attention_not_measured",
    "memory_released",
    "decode_tiled",
    "batch_reduced",
    "precision_lowered",
    "precision_raised",
    "resumed",
    "retried",
    "schedule_replaced",
    "extension_applied",
    "extension_failed",
    "style_applied",
    "setting_unsupported",
]


class Notice(Frozen):
    """One sentence that a person should see: nothing is changed or skipped in silence.

    Attributes:
        code: stable identifier to filter by.
        message: the sentence.
        level: "info" (for your information) or "warning" (the picture may differ from what you expect).
    """

    code: NoticeCode
    message: str
    level: Literal["info", "warning"] = "info"
