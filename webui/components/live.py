"""Places on the page that the page script fills: each is one custom element of webui/static.

The script draws them from the WebSocket, so they go on by themselves and come back after a reload.
"""

from __future__ import annotations

import gradio as gr

LIVE_ELEMENTS: tuple[str, ...] = (
    "easel-bar",
    "easel-stage",
    "easel-queue",
    "easel-examples",
    "easel-empty-models",
    "easel-drop",
    "easel-history",
    "easel-stack",
    "easel-adapters",
    "easel-glance",
    "easel-controls",
    "easel-composition",
    "easel-merge",
    "easel-memory",
    "easel-memory-hint",
)


def live(element: str, *, elem_id: str | None = None, **attributes: str) -> gr.HTML:
    """One live element. Attributes are plain words of ours, never a person's text."""
    if element not in LIVE_ELEMENTS:
        raise AssertionError(f"There is no live element {element!r}.")
    words = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return gr.HTML(
        html_template=f"<{element}{words}></{element}>", js_on_load=None, apply_default_css=False, elem_id=elem_id
    )


def note(text: str = "", *, elem_id: str | None = None, kind: str = "hint") -> gr.HTML:
    """A line of small text under a field. `text` and later values are shown as text, never as markup."""
    return gr.HTML(
        value=text,
        html_template=f'<p class="easel-{kind}" aria-live="polite"></p>',
        js_on_load=(
            "const put = () => { element.querySelector('p').textContent = props.value || ''; };"
            "put(); watch('value', put);"
        ),
        apply_default_css=False,
        elem_id=elem_id,
    )
