"""`python -m webui`: from the first answer to the clean stop, with a real engine process behind it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.running_studio import SMALL
from tests.support.studio_data import make_data
from tests.support.studio_process import StudioProcess, free_port, studio

CATALOGUE = """
[catalogue.models.pony-xl-v6]
name = "PonyXL v6"
path = "{folder}/models/checkpoints/tiny-sd1"
supported_loras = ["style-anime", "character-detailed"]
default_negative = "low quality, bad anatomy, worst quality, low res"

[catalogue.models.pony-xl-v6.defaults]
width = 64
height = 64
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudioProcess, str, Path]]:
    """A studio on port 8009 where that is free, with the first thing that its port answered."""
    folder = tmp_path_factory.mktemp("data")
    config = make_data(folder)
    config.write_text(config.read_text() + CATALOGUE.format(folder=folder.as_posix()))
    with socket.socket() as probe:
        port = 8009 if probe.connect_ex(("127.0.0.1", 8009)) else free_port()
    with studio(folder, config, port=port) as running:
        first = running.wait_for_port().text
        running.wait_for_line("Easel is ready at ")
        yield running, first, folder


def test_the_warming_page_comes_first_and_then_the_tabs(started: tuple[StudioProcess, str, Path]) -> None:
    running, first, _ = started
    assert "Easel is starting" in first
    page = httpx.get(running.url, trust_env=False)
    assert page.status_code == 200
    assert "gradio" in page.text
    assert httpx.get(f"{running.url}/healthz", trust_env=False).json()["page"] == "ready"
    assert httpx.get(f"{running.url}/nothing", trust_env=False).json()["error"]["code"] == "route_unknown"
    assert httpx.delete(f"{running.url}/api/v1/models", trust_env=False).json()["error"]["code"] == "route_unknown"


def test_a_connection_that_was_idle_for_a_while_still_serves(started: tuple[StudioProcess, str, Path]) -> None:
    """Clients drop theirs after 5 s; a server that does so too cuts requests that are on their way."""
    connection = http.client.HTTPConnection("127.0.0.1", started[0].port, timeout=30)
    # Without this `http.client` would connect anew and hide it.
    connection.auto_open = 0
    connection.connect()
    for pause in (0, 7):
        time.sleep(pause)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
    connection.close()


def test_gradio_stands_behind_the_gate_too(started: tuple[StudioProcess, str, Path]) -> None:
    running, _, folder = started
    evil = {"Origin": "http://evil.example"}
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/join", "/static/studio.js"):
        for headers in (evil, {"Host": "evil.example"}):
            answer = httpx.get(f"{running.url}{path}", headers=headers, trust_env=False)
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]
        own = httpx.get(f"{running.url}{path}", headers={"Origin": running.url}, trust_env=False)
        assert not [name for name in own.headers if name.startswith("access-control")]
    database = folder / "outputs" / ".easel" / "studio.db"
    for secret in (database, folder / "config.toml"):
        answer = httpx.get(f"{running.url}/gradio_api/file={secret}", trust_env=False)
        assert answer.status_code in (403, 404)


def test_no_heartbeat_stays_open(started: tuple[StudioProcess, str, Path]) -> None:
    running, _, _ = started
    assert httpx.get(f"{running.url}/gradio_api/heartbeat/abc", trust_env=False, timeout=10).status_code == 204


def test_gradios_uploads_are_limited(started: tuple[StudioProcess, str, Path]) -> None:
    running, _, _ = started
    answer = httpx.post(
        f"{running.url}/gradio_api/upload", files={"files": ("x.png", b"x" * 37_000_000)}, trust_env=False, timeout=60
    )
    assert answer.status_code == 413


def test_the_web_process_stays_light_and_without_torch(started: tuple[StudioProcess, str, Path]) -> None:
    running, _, _ = started
    process = psutil.Process(running.process.pid)
    assert process.memory_info().rss <= 200 * 1024 * 1024
    if Path("/proc").is_dir():
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert "libtorch" not in mapped


def test_a_second_studio_on_the_same_folder_is_refused(started: tuple[StudioProcess, str, Path]) -> None:
    running, _, folder = started
    with studio(folder, folder / "config.toml") as second:
        said = second.refused()
    assert running.url in said
    assert "Traceback" not in said


def test_a_taken_port_is_told(started: tuple[StudioProcess, str, Path], tmp_path: Path) -> None:
    running, _, _ = started
    with studio(tmp_path, None, port=running.port) as second:
        assert f"Port {running.port}" in second.refused()


def test_the_seeds_four_lines(started: tuple[StudioProcess, str, Path]) -> None:
    """The example requests of the seed document, as they stand there; sizes come from the catalogue's defaults."""
    running, _, _ = started
    running.wait_for_line("Engine is ready")
    client = httpx.Client(base_url=running.url, timeout=240, trust_env=False)
    typed = {"Content-Type": "application/json"}
    untyped = {"Content-Type": "application/x-www-form-urlencoded"}
    first = client.post(
        "/generate",
        headers=typed,
        content="""{
    "model": "pony-xl-v6",
    "prompt": "a cute pony character in anime style, detailed eyes, colorful mane",
    "steps": 30,
    "guidance_scale": 7.5
  }""",
    )
    assert first.status_code == 200, first.text
    made = first.json()
    assert made["status"] == "success"
    assert re.fullmatch(r"pony_xl_v6_\d{8}_\d{6}_[0-9a-f]{8}\.png", made["filename"])
    assert made["metadata"]["model"] == "pony-xl-v6"
    assert client.get(made["url"]).headers["content-type"] == "image/png"
    second = client.post(
        "/generate",
        headers=typed,
        content="""{
    "model": "pony-xl-v6",
    "prompt": "beautiful anime girl with long hair, detailed face, fantasy background",
    "loras": [{"name": "style-anime", "weight": 0.75}],
    "steps": 35, "guidance_scale": 8.0, "seed": 42
  }""",
    )
    third = client.post(
        "/generate",
        headers=typed,
        content="""{
    "model": "pony-xl-v6",
    "prompt": "cyberpunk character with neon outfit, detailed face and clothing",
    "loras": [{"name": "style-anime", "weight": 0.6}, {"name": "character-detailed", "weight": 0.8},
              {"name": "cyberpunk-style", "weight": 0.7}],
    "steps": 40, "guidance_scale": 7.5
  }""",
    )
    # Decision 20: an adapter that is not there (until they are built: any) is refused, never skipped silently.
    for answer in (second, third):
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["code"] in ("adapter_unknown", "not_built_yet")
    line = '{"model": "pony-xl-v6", "prompt": "test", "seed": 12345}'
    pictures = []
    for _ in range(2):
        fourth = client.post("/generate", headers=untyped, content=line)
        assert fourth.status_code == 200, fourth.text
        assert fourth.json()["metadata"]["seed"] == 12345
        from PIL import Image

        with Image.open(fourth.json()["path"]) as image:
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1]
    models = client.get("/models").json()["models"]
    pony = next(model for model in models if model["id"] == "pony-xl-v6")
    assert pony == {
        "id": "pony-xl-v6",
        "name": "PonyXL v6",
        "supported_loras": ["style-anime", "character-detailed"],
    }
    assert SMALL == {"width": 64, "height": 64}


def test_a_stop_is_clean(started: tuple[StudioProcess, str, Path]) -> None:
    """Last: streams are open, the engine is asked to leave, nothing stays behind."""
    running, _, folder = started
    children = psutil.Process(running.process.pid).children(recursive=True)
    with httpx.stream("GET", f"{running.url}/api/v1/events", trust_env=False, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert running.stop(signal.SIGINT if os.name == "posix" else signal.SIGTERM) == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert "Traceback" not in running.errors()
    with studio(folder, folder / "config.toml") as again:
        again.wait_for_port()
        assert again.stop() == 0


def test_listening_to_others_asks_for_a_password(tmp_path: Path) -> None:
    config = make_data(tmp_path)
    with studio(tmp_path, config, "--host", "0.0.0.0") as refused:
        assert "password" in refused.refused()
    with studio(tmp_path, config, "--listen") as running:
        password = running.wait_for_line("Password for this studio").rpartition(": ")[2]
        answer = running.wait_for_port()
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/")
        client = httpx.Client(base_url=running.url, trust_env=False, timeout=30)
        assert "password" in client.get("/login").text
        assert client.post("/login", data={"password": "wrong"}).status_code == 401
        assert client.post("/login", data={"password": password}).status_code == 303
        assert "Easel" in client.get("/").text
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("text", "words"), [("[ui]\nprot = 1\n", "“port”"), ("[ui\n", "config.toml"), ("[ui]\nport = 99999\n", "port")]
)
def test_a_wrong_config_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    with studio(tmp_path, config) as running:
        said = running.refused()
    assert words in said
    assert "Traceback" not in said
