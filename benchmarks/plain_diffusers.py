"""The other side of the comparison: a bare diffusers pipeline in a process of its own.

Started by benchmarks/engine.py with the same thread settings as the engine. Reads one JSON request per line and answers
with the seconds that `StableDiffusionPipeline.__call__` took.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> None:
    """Load the model named on the command line, then serve requests until standard input closes."""
    from engine.loading.torchvision_guard import guard_torchvision

    guard_torchvision()
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipe: Any = StableDiffusionPipeline.from_pretrained(
        sys.argv[1], torch_dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, algorithm_type="dpmsolver++", solver_order=2
    )
    pipe.set_progress_bar_config(disable=True)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        began = time.perf_counter()
        pipe(
            request["prompt"],
            negative_prompt=request["negative_prompt"],
            num_inference_steps=request["steps"],
            guidance_scale=request["guidance"],
            width=request["width"],
            height=request["height"],
            generator=torch.Generator("cpu").manual_seed(request["seed"]),
        )
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
