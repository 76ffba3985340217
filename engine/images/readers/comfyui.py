"""ComfyUI: the executed graph under `prompt`, walked from the sampler backwards.

A graph is `{"id": {"class_type", "inputs"}}` and a link is `["id", slot]`. The walk visits each node once, so cycles
and hostile graphs end. A graph can say more than a spec: what is left out is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from engine.images.carrier import Carrier
from engine.images.draft import Draft, Lookups, adapter_tag, as_number, as_text
from engine.images.readers.comfy_names import model_name, titles
from engine.images.restoration import restore
from engine.images.safe_json import load_object
from engine.protocol.commands import Recipe

Node = dict[str, Any]
MAX_NODES = 5_000


class ComfyReader:
    """Reads graphs with a KSampler of any kind; of several, the one that starts from an empty latent."""

    dialect = "comfyui"

    def read(self, carrier: Carrier, lookups: Lookups) -> Recipe | None:
        """The recipe; None where there is no graph, or no sampler in it."""
        text = carrier.texts.get("prompt", "")
        if not text.lstrip().startswith("{"):
            return None
        graph = _Graph(load_object(text, "ComfyUI's graph"))
        samplers = graph.nodes_with("steps", "cfg") or graph.nodes_of("SamplerCustom")
        if not samplers:
            return None
        first = next((node for node in samplers if graph.empty_latent(node)), samplers[0])
        draft = _draft(graph, first, carrier)
        if len(samplers) > 1:
            draft.lost.append(f"{len(samplers) - 1} further sampler passes of the graph")
        if graph.nodes_of("ControlNetApply"):
            draft.lost.append("ControlNet units of the graph")
        return restore(draft, self.dialect, "", lookups)


def _draft(graph: _Graph, sampler: Node, carrier: Carrier) -> Draft:
    # SamplerCustomAdvanced has its prompts behind a guider.
    guider = sampler if "positive" in sampler["inputs"] else graph.before(sampler, "positive") or sampler
    inputs = guider["inputs"]
    latent = graph.empty_latent(sampler)
    size = latent["inputs"] if latent else {}
    name, schedule = titles(
        as_text(graph.value(sampler, "sampler_name")) or _upstream_text(graph, sampler, "sampler_name"),
        as_text(graph.value(sampler, "scheduler")) or _upstream_text(graph, sampler, "scheduler"),
    )
    tags, adapters = _adapters(graph, guider)
    skip = graph.first(inputs.get("positive"), lambda node: "stop_at_clip_layer" in node["inputs"])
    stop = as_number(skip["inputs"]["stop_at_clip_layer"]) if skip else None
    seed = graph.value(sampler, "noise_seed")
    return Draft(
        prompt=" ".join([_prompt(graph, inputs.get("positive")), *tags]).strip(),
        negative=_prompt(graph, inputs.get("negative")),
        steps=graph.value(sampler, "steps") or _upstream(graph, sampler, "steps"),
        guidance=graph.value(sampler, "cfg") or _upstream(graph, sampler, "cfg"),
        seed=(graph.value(sampler, "seed") or _upstream(graph, sampler, "noise_seed")) if seed is None else seed,
        width=graph.value({"inputs": size}, "width") or carrier.width,
        height=graph.value({"inputs": size}, "height") or carrier.height,
        sampler=name,
        schedule=schedule,
        model=model_name(_upstream_text(graph, guider, "ckpt_name", "model")),
        vae=_vae(graph),
        clip_skip=round(-stop) if stop is not None and -100 < stop < 0 else None,
        adapters=adapters,
    )


class _Graph:
    """Nodes by id, those that are well formed."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.nodes: dict[str, Node] = {
            key: node
            for key, node in list(raw.items())[:MAX_NODES]
            if isinstance(node, dict)
            and isinstance(node.get("inputs"), dict)
            and isinstance(node.get("class_type"), str)
        }

    def nodes_with(self, *names: str) -> list[Node]:
        return [node for node in self.nodes.values() if all(name in node["inputs"] for name in names)]

    def nodes_of(self, kind: str) -> list[Node]:
        return [node for node in self.nodes.values() if kind in node["class_type"]]

    def follow(self, link: Any) -> Node | None:
        """The node at the other end of a link; None for plain values."""
        if isinstance(link, list) and len(link) == 2 and isinstance(link[0], (str, int)):
            return self.nodes.get(str(link[0]))
        return None

    def upstream(self, link: Any) -> Iterator[Node]:
        """All nodes that a link depends on, nearest first, each once."""
        start = self.follow(link)
        waiting = deque([start] if start else [])
        seen: set[int] = set()
        while waiting:
            node = waiting.popleft()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            waiting.extend(found for found in map(self.follow, node["inputs"].values()) if found is not None)

    def first(self, link: Any, wanted: Callable[[Node], bool]) -> Node | None:
        return next((node for node in self.upstream(link) if wanted(node)), None)

    def before(self, node: Node, name: str, through: str | None = None) -> Node | None:
        """The nearest node before `node` (behind its input `through`, or any) that has the input `name`."""
        links = [node["inputs"].get(through)] if through else list(node["inputs"].values())
        found = (self.first(link, lambda other: name in other["inputs"]) for link in links)
        return next((other for other in found if other is not None), None)

    def value(self, node: Node, name: str) -> Any:
        """An input's plain value; a link is followed to the first primitive that names a value."""
        value = node["inputs"].get(name)
        if not isinstance(value, list):
            return value
        for source in self.upstream(value):
            for key in (name, "value", "seed", "noise_seed", "int", "text", "string"):
                found = source["inputs"].get(key)
                if isinstance(found, (int, float, str)):
                    return found
        return None

    def empty_latent(self, sampler: Node) -> Node | None:
        """The node that makes the empty latent of a sampler, unless another sampler stands between."""
        for node in self.upstream(sampler["inputs"].get("latent_image")):
            if "Latent" in node["class_type"] and "width" in node["inputs"] and "Upscale" not in node["class_type"]:
                return node
            if "cfg" in node["inputs"]:
                return None
        return None


def _prompt(graph: _Graph, link: Any) -> str:
    node = graph.first(link, lambda found: any(key in found["inputs"] for key in ("text", "text_g")))
    if node is None:
        return ""
    return as_text(graph.value(node, "text" if "text" in node["inputs"] else "text_g"))


def _upstream(graph: _Graph, sampler: Node, name: str, through: str | None = None) -> Any:
    node = graph.before(sampler, name, through)
    return None if node is None else graph.value(node, name)


def _upstream_text(graph: _Graph, sampler: Node, name: str, through: str | None = None) -> str:
    return as_text(_upstream(graph, sampler, name, through))


def _vae(graph: _Graph) -> str:
    loaders = graph.nodes_of("VAELoader")
    return model_name(as_text(loaders[0]["inputs"].get("vae_name"))) if len(loaders) == 1 else ""


def _adapters(graph: _Graph, sampler: Node) -> tuple[list[str], list[tuple[str, str]]]:
    tags: list[str] = []
    adapters: list[tuple[str, str]] = []
    for node in graph.upstream(sampler["inputs"].get("model")):
        name = model_name(as_text(node["inputs"].get("lora_name")))
        if not name or name == "None":
            continue
        unet = as_number(node["inputs"].get("strength_model"))
        text = as_number(node["inputs"].get("strength_clip"))
        tags.append(adapter_tag(name, 1.0 if unet is None else unet, text))
        adapters.append((name, ""))
    # Nearest first on the way back; the order of use is the reverse.
    return tags[::-1], adapters[::-1]
