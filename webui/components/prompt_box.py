"""What to paint: prompt, negative prompt, token counter, examples, and the Generate button."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.components.live import live, note


@dataclass(frozen=True)
class PromptBox:
    prompt: gr.Textbox
    negative_prompt: gr.Textbox
    tokens: gr.HTML
    generate: gr.Button


def prompt_box() -> PromptBox:
    """Build the box; the widgets are returned so that the tab can wire them."""
    prompt = gr.Textbox(
        label="Prompt",
        placeholder="What do you want to see?",
        lines=3,
        max_lines=12,
        elem_id="easel-prompt",
    )
    tokens = note(elem_id="easel-tokens", kind="tokens")
    live("easel-examples")
    negative_prompt = gr.Textbox(
        label="Negative prompt",
        info="What should not be in it. No effect at guidance 1.",
        placeholder="Usually empty",
        lines=1,
        max_lines=8,
        elem_id="easel-negative",
    )
    generate = gr.Button("Generate", variant="primary", size="lg", elem_id="easel-generate")
    live("easel-memory-hint", elem_id="easel-memory-hint-block")
    gr.HTML(
        html_template=(
            '<p class="easel-hint easel-keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> generates, <kbd>Esc</kbd> cancels</p>'
        ),
        js_on_load=None,
        apply_default_css=False,
    )
    return PromptBox(prompt, negative_prompt, tokens, generate)
