"""A recipe small enough to run whole in a few seconds: five drawn SVGs, one invented tokenizer vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

from training.data.sets import NAMES_PACKAGE, PictureSet
from training.tokenizer import byte_symbols

TOY_SET = PictureSet(
    "toy", "toy-pictures", "1.0.0", "iconify", ("flat",), "Toy", "Nobody", "MIT", "nowhere",
)  # fmt: skip

SHAPES = {
    "1f534": ("red-disc", '<circle cx="8" cy="8" r="6" fill="#d22"/>'),
    "1f7e6": ("blue-box", '<path d="M3 3h10v10H3z" fill="#22d"/>'),
    "1f7e2": ("green-disc", '<circle cx="8" cy="8" r="5" fill="#2b2"/>'),
    "1f536": ("orange-kite", '<path d="M8 1l6 7-6 7-6-7z" fill="#f80"/>'),
    "2b50": ("star", '<path d="M8 1l2 5h5l-4 3 2 6-5-4-5 4 2-6-4-3h5z" fill="#fc2"/>'),
}

RECIPE = """
key = "toy"
seed = 1
threads = 1
adapters = "toy-adapters.toml"

[data]
concepts = "toy_concepts.toml"
size = 16
sets = ["toy"]
weights = [1.0]
plain_style = "toy"
backgrounds = ["blue", "black"]
coloured_background = 0.2
recoloured = 0.1
pairs = 0.1
unknown_words = 0.1
no_caption = 0.1

[autoencoder]
width = 8
encoder_blocks = [0, 1, 1]
decoder_blocks = [1, 1, 1]
latent_channels = 4
steps = 30
batch = 8
rate = 3e-3
noise = 0.05
decoder_steps = 5

[base]
levels = [16, 16]
layers = 1
attention_at_full = false
head_size = 8
norm_groups = 4
text_width = 16
text_layers = 1
steps = 30
batch = 8
rate = 2e-3
warmup = 5
weight_decay = 0.01
ema = 0.9
low_noise_share = 0.5
workers = 2

[model]
name = "Toy"
description = "A toy."
steps = 3
guidance = 2.0
sampler = "dpmpp_2m"
scheduler = "karras"
examples = ["a star"]
grid = ["a star", "a blue box"]
"""

ADAPTERS = """
[[lora]]
name = "toy-lora"
title = "Toy LoRA"
kind = "lora"
layout = "kohya"
set = "toy"
rank = 2
alpha = 1
text = true
course = { steps = 4, batch = 4, rate = 1e-3 }

[[lora]]
name = "toy-dora"
title = "Toy DoRA"
kind = "dora"
layout = "kohya"
set = "toy"
rank = 2
alpha = 2
convolutions = true
course = { steps = 4, batch = 4, rate = 1e-3 }

[[lora]]
name = "toy-loha"
title = "Toy LoHa"
kind = "loha"
layout = "lycoris"
set = "toy"
rank = 2
alpha = 2
convolutions = true
course = { steps = 4, batch = 4, rate = 1e-3 }

[[lora]]
name = "toy-lokr"
title = "Toy LoKr"
kind = "lokr"
layout = "lycoris"
set = "toy"
rank = 1
alpha = 1
factor = 4
convolutions = true
course = { steps = 4, batch = 4, rate = 1e-3 }

[[lora]]
name = "toy-peft"
title = "Toy PEFT"
kind = "lora"
layout = "peft"
set = "toy"
rank = 2
alpha = 2
convolutions = true
course = { steps = 4, batch = 4, rate = 1e-3 }

[[embedding]]
name = "toy-word"
title = "Toy word"
set = "toy"
vectors = 2
start = "flat"
ground = "orange"
course = { steps = 4, batch = 4, rate = 1e-2 }

[[controlnet]]
name = "toy-canny"
title = "Toy canny"
hint = "canny"
weights = [1.1, 0.9, 1.3]
course = { steps = 4, batch = 4, rate = 1e-3 }

[[controlnet]]
name = "toy-scribble"
title = "Toy scribble"
hint = "scribble"
begin = "toy-canny"
course = { steps = 2, batch = 4, rate = 1e-3 }

[evaluation]
base = 4
adapter = 3
sweep = 2
colours = 2
control = 2
neighbours = 4
weights = [0.0, 1.0]

[evaluation.classifier]
width = 8
held_out = 0.2
course = { steps = 6, batch = 8, rate = 3e-3 }
"""

CONCEPTS = """
[concepts]
red_disc = ["disc"]
blue_box = ["box"]
green_disc = ["green disc"]
orange_kite = ["kite"]
star = ["star", "yellow star"]

[recolour]
colours = ["red", "blue"]
slugs = ["star"]
"""


def write_packages(node_modules: Path) -> None:
    """The names package and one iconify package, as npm would have unpacked them."""
    names = {
        "".join(chr(int(part, 16)) for part in points.split("-")): {"slug": name.replace("-", "_"), "group": "Objects"}
        for points, (name, _) in SHAPES.items()
    }
    folder = node_modules / NAMES_PACKAGE[0]
    folder.mkdir(parents=True)
    (folder / "data-by-emoji.json").write_text(json.dumps(names), encoding="utf-8")
    folder = node_modules / TOY_SET.package
    folder.mkdir(parents=True)
    icons = {name: {"body": body} for name, body in SHAPES.values()}
    (folder / "icons.json").write_text(json.dumps({"icons": icons, "width": 16, "height": 16}), encoding="utf-8")
    (folder / "chars.json").write_text(
        json.dumps({points: name for points, (name, _) in SHAPES.items()}), encoding="utf-8"
    )


def write_toy_tokenizer(folder: Path) -> None:
    """Tokenizer files without merges: every character is a token; as many tokens as in CLIP's files."""
    from training.tokenizer import END, LENGTH, START

    symbols = byte_symbols()
    tokens = {token: number for number, token in enumerate([*symbols, *(symbol + "</w>" for symbol in symbols)])}
    folder.mkdir(parents=True)
    unused = {f"<unused-{number}>": number for number in range(len(tokens), 49_406)}
    vocabulary = {**tokens, **unused, START: 49_406, END: 49_407}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    specials = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(specials), encoding="utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, **specials}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def write_recipe(folder: Path) -> Path:
    """The recipe and its concept list, side by side."""
    (folder / "toy_concepts.toml").write_text(CONCEPTS, encoding="utf-8")
    (folder / "toy-adapters.toml").write_text(ADAPTERS, encoding="utf-8")
    path = folder / "toy.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
