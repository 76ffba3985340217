"""A card for each extension: what it is, what it adds, or why it does not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from engine.protocol.extensions import EngineHalves
from webui.host import CardState, ExtensionCard

_STATES: dict[CardState, str] = {"on": "on", "off": "off", "broken": "does not run"}


def extension_cards(cards: Sequence[ExtensionCard]) -> str:
    """HTML of all cards; every text of an extension is escaped."""
    if not cards:
        return (
            '<div class="easel-empty"><h3>No extensions yet</h3>'
            "<p>An extension is a folder in <code>extensions/</code>. "
            "<code>python3 launch.py new-extension NAME</code> makes one.</p></div>"
        )
    return f'<div class="easel-cards">{"".join(_card(card) for card in cards)}</div>'


def with_engine_halves(cards: Sequence[ExtensionCard], told: EngineHalves | None) -> list[ExtensionCard]:
    """The cards with what became of the engine's halves; `told` is None while the engine does not answer."""
    halves = {half.id: half for half in told.halves} if told is not None else {}
    shown: list[ExtensionCard] = []
    for card in cards:
        half = halves.get(card.id)
        if half is None or card.state == "off":
            shown.append(card)
        elif half.state == "on":
            shown.append(replace(card, adds=(*card.adds, *half.adds)))
        else:
            reason = f"Its engine half does not work: {half.reason}"
            shown.append(replace(card, state="broken", reason=f"{card.reason} {reason}".strip(), detail=half.detail))
    return shown


def _card(card: ExtensionCard) -> str:
    version = f'<span class="easel-quiet">{escape(card.version)}</span>' if card.version else ""
    adds = f'<p class="easel-hint">Adds {escape(", ".join(card.adds))}.</p>' if card.adds else ""
    reason = f'<p class="easel-reason">{escape(card.reason)}</p>' if card.reason else ""
    detail = f'<p class="easel-hint"><code>{escape(card.detail)}</code></p>' if card.detail else ""
    description = f"<p>{escape(card.description)}</p>" if card.description else ""
    return (
        f'<article class="easel-extension" data-state="{card.state}" data-id="{escape(card.id)}">'
        f"<header><h3>{escape(card.name)} {version}</h3>"
        f'<span class="easel-pill" data-state="{card.state}">{_STATES[card.state]}</span></header>'
        f"{description}{reason}{detail}{adds}</article>"
    )
