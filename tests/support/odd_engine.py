"""A process that starts like an engine and then misbehaves on purpose: `python odd_engine.py MODE [COUNT_FILE]`.

Modes: steady · exit (at once, with words on stderr) · mute (never ready) · garbled (a broken ready line) · foreign
(another protocol version) · dies (after its first event stream) · stuck (answers, but its worker shows no life) ·
stubborn (does not leave when its input closes) · once (exits the first time, is steady the second).
COUNT_FILE gets one byte for every start.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE = sys.argv[1]


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {os.environ['EASEL_ENGINE_TOKEN']}":
            self.answer(401, {"error": {"code": "engine_token_wrong", "message": "No.", "hint": ""}})
        elif self.path.startswith("/heartbeat"):
            self.answer(200, {"worker_beat_age": 99.0 if MODE == "stuck" else 0.0})
        else:
            self.stream()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, {"state": "ready", "pid": os.getpid(), "queued": 3, "last_seq": 2})

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for seq, state in enumerate(("warming", "ready"), start=1):
            event = {"kind": "engine_state", "seq": seq, "at": time.time(), "state": state, "message": f"I am {state}."}
            self.wfile.write(f"id: {seq}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        if MODE == "dies":
            print("the last straw", file=sys.stderr, flush=True)
            os._exit(7)
        while True:
            time.sleep(0.5)
            self.wfile.write(b": still here\n\n")
            self.wfile.flush()

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


def leash() -> None:
    while os.read(0, 4096):
        pass
    if MODE != "stubborn":
        os._exit(0)


def main() -> None:
    starts = 0
    if len(sys.argv) > 2:
        file = Path(sys.argv[2])
        starts = file.stat().st_size if file.exists() else 0
        with file.open("ab") as handle:
            handle.write(b".")
    if MODE == "exit" or (MODE == "once" and starts == 0):
        print(f"cannot start in {os.getcwd()}: no such thing", file=sys.stderr, flush=True)
        raise SystemExit(3)
    if MODE == "mute":
        while os.read(0, 4096):
            pass
        return
    if MODE == "garbled":
        print('{"ready": true, "port": "soon"}', flush=True)
        time.sleep(60)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    server.daemon_threads = True
    threading.Thread(target=leash, daemon=True).start()
    protocol = 99 if MODE == "foreign" else 1
    print("a library says hello", flush=True)
    print(json.dumps({"ready": True, "port": server.server_port, "pid": os.getpid(), "protocol": protocol}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
