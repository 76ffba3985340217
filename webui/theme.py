"""Easel's own look: a warm, quiet palette with one accent, system fonts, light and dark.

The colours stand once, here; studio.css reads them as Gradio's CSS variables. No font is fetched from anywhere.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.themes.utils import colors, sizes

SANS = ("Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

# Terracotta: readable as text on paper (600) and on charcoal (400), white text stands on 600 and darker.
CLAY = colors.Color(
    name="clay",
    c50="#fdf4ef",
    c100="#fbe6da",
    c200="#f6cbb2",
    c300="#f0a882",
    c400="#e98a5b",
    c500="#d96a35",
    c600="#b9501f",
    c700="#983f18",
    c800="#7a3416",
    c900="#632c15",
    c950="#361408",
)
# Warm greys: paper, stone, charcoal.
STONE = colors.Color(
    name="easel-stone",
    c50="#faf8f5",
    c100="#f3f0eb",
    c200="#e6e1d9",
    c300="#d2cbc0",
    c400="#a39b8f",
    c500="#776f64",
    c600="#5a534a",
    c700="#413c35",
    c800="#2b2824",
    c900="#1f1d1a",
    c950="#161412",
)


def studio_theme() -> gr.themes.Base:
    """The theme of the page."""
    theme = gr.themes.Base(
        primary_hue=CLAY,
        secondary_hue=STONE,
        neutral_hue=STONE,
        text_size=sizes.text_md,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_lg,
        font=list(SANS),
        font_mono=list(MONO),
    )
    return theme.set(**_values())


def _values() -> dict[str, Any]:
    both: dict[str, Any] = {
        "block_border_width": "0px",
        "block_shadow": "none",
        "block_padding": "0px",
        "block_background_fill": "transparent",
        "block_background_fill_dark": "transparent",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_label_border_width": "0px",
        "block_title_text_weight": "600",
        "block_title_text_size": "0.82rem",
        "block_info_text_size": "0.8rem",
        "block_radius": "10px",
        "container_radius": "10px",
        "layout_gap": "14px",
        "form_gap_width": "0px",
        "panel_border_width": "0px",
        "input_border_width": "1px",
        "input_radius": "8px",
        "input_padding": "9px 12px",
        "input_text_size": "0.95rem",
        "button_large_radius": "10px",
        "button_small_radius": "8px",
        "button_large_text_weight": "600",
        "button_small_text_weight": "500",
        "button_border_width": "1px",
        "shadow_drop": "none",
        "shadow_drop_lg": "none",
        "button_transition": "background-color .15s, border-color .15s, color .15s",
    }
    light = {
        "body_background_fill": "#f7f4ef",
        "body_text_color": "#26231f",
        "body_text_color_subdued": "#6d655a",
        "background_fill_primary": "#ffffff",
        "background_fill_secondary": "#faf8f5",
        "border_color_primary": "#e4ded4",
        "border_color_accent": "#d96a35",
        "block_title_text_color": "#3a352f",
        "block_info_text_color": "#6d655a",
        "input_background_fill": "#ffffff",
        "input_border_color": "#d9d2c7",
        "input_border_color_focus": "#b9501f",
        "input_placeholder_color": "#8d8478",
        "button_primary_background_fill": "#b9501f",
        "button_primary_background_fill_hover": "#983f18",
        "button_primary_text_color": "#ffffff",
        "button_primary_border_color": "#b9501f",
        "button_secondary_background_fill": "#ffffff",
        "button_secondary_background_fill_hover": "#f3eee6",
        "button_secondary_text_color": "#3a352f",
        "button_secondary_border_color": "#d9d2c7",
        "slider_color": "#b9501f",
        "link_text_color": "#983f18",
        "checkbox_background_color_selected": "#b9501f",
        "checkbox_border_color_selected": "#b9501f",
    }
    dark = {
        "body_background_fill": "#191715",
        "body_text_color": "#ece7e0",
        "body_text_color_subdued": "#a8a095",
        "background_fill_primary": "#23201d",
        "background_fill_secondary": "#1d1b18",
        "border_color_primary": "#38342f",
        "border_color_accent": "#e98a5b",
        "block_title_text_color": "#ddd6cc",
        "block_info_text_color": "#a8a095",
        "input_background_fill": "#1d1b18",
        "input_border_color": "#433e38",
        "input_border_color_focus": "#e98a5b",
        "input_placeholder_color": "#877f74",
        "button_primary_background_fill": "#e98a5b",
        "button_primary_background_fill_hover": "#f0a882",
        "button_primary_text_color": "#23130a",
        "button_primary_border_color": "#e98a5b",
        "button_secondary_background_fill": "#2b2824",
        "button_secondary_background_fill_hover": "#37332e",
        "button_secondary_text_color": "#ece7e0",
        "button_secondary_border_color": "#433e38",
        "slider_color": "#e98a5b",
        "link_text_color": "#f0a882",
        "checkbox_background_color_selected": "#d96a35",
        "checkbox_border_color_selected": "#d96a35",
    }
    return {**both, **light, **{f"{name}_dark": value for name, value in dark.items()}}
