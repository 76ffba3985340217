"""The engine process: `python -m engine --config F --data DIR`, token in EASEL_ENGINE_TOKEN.

Order matters: the port is bound and the ready line printed first, with the standard library alone; then the web server
is imported and answers; then torch is imported on the worker's thread. The process leaves when its standard input
closes: whoever started it is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path

PROTOCOL_VERSION = 1


def main() -> int:
    """Run until told to stop; the exit status is 0 for a wanted end, 2 for a data folder that cannot be used."""
    options = _options()
    token = os.environ.pop("EASEL_ENGINE_TOKEN", "")
    if not token:
        print("The engine is started by the studio: run `python3 launch.py`.", file=sys.stderr)  # noqa: T201
        return 2
    # The protocol is named because asyncio switches Nagle's delay off only for sockets that name it: without it every
    # short answer after an event waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    ready = {"ready": True, "port": listener.getsockname()[1], "pid": os.getpid(), "protocol": PROTOCOL_VERSION}
    print(json.dumps(ready), flush=True)  # noqa: T201  the ready line is the contract with the supervisor

    from engine.server.process import serve

    given = {"extensions": None} if options.safe_mode else {}
    return serve(listener, token, config=options.config, data=options.data, **given)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine", description="The engine of Easel.")
    parser.add_argument("--config", type=Path, default=None)
    parser.add_argument("--data", default=None)
    parser.add_argument("--safe-mode", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
