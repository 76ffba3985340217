"""`python -m webui`: the web process.

The port answers first, with the warming page and only uvicorn imported; then the settings are read, the data folder is
locked and the engine is started; then Gradio is imported in a thread and the page is built.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

STARTED = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """The process entry; the exit status: 0 after a clean stop, 2 when it cannot start."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    from engine.errors import StudioError
    from webui.studio_process import StudioProcess

    try:
        return StudioProcess(options, STARTED).run()
    except StudioError as error:
        sys.stderr.write(f"Easel: {error} [{error.code}]\n")
        return 2
    except KeyboardInterrupt:
        return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; `host` and `port` are None where config.toml decides."""
    parser = argparse.ArgumentParser(prog="webui", description="The web process of Easel; launch.py starts it.")
    parser.add_argument("--config", type=Path, help="settings file")
    parser.add_argument("--data", help="folder for outputs and models")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--listen", action="store_true", help="let others on the network in, with a password")
    parser.add_argument("--safe-mode", action="store_true", help="load no extensions")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
