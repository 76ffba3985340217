"""Which PyTorch for which machine, and what happens where its index does not answer."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from engine import platform
from engine.launcher import torch_build
from engine.launcher.torch_build import CUDA_TAGS, ROCM_TAGS, Gpu, choose_build, find_gpu, index_for, installed_build

SMI = "| NVIDIA-SMI 570.86.15    Driver Version: 570.86.15    CUDA Version: 12.8     |"


class Machine:
    """Answers commands as a machine with these programs would."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def __call__(self, command: list[str]) -> str:
        return self.answers.get("_".join(command[:2]).replace("-", "_").split("=")[0], "")


def machine_with(cards: str) -> Machine:
    return Machine(nvidia_smi___query_gpu=cards, nvidia_smi=SMI)


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "linux")


def test_no_gpu_takes_the_cpu_build() -> None:
    gpu = find_gpu(Machine())
    assert gpu == Gpu("none")
    build = choose_build("auto", gpu)
    assert (build.kind, build.tags) == ("cpu", ("cpu",))
    assert build.download_mb < 500


def test_an_nvidia_card_takes_cuda_that_its_driver_runs() -> None:
    gpu = find_gpu(machine_with("NVIDIA GeForce RTX 3060, 8.6\n"))
    assert gpu == Gpu("nvidia", "NVIDIA GeForce RTX 3060", 12.8, 8.6)
    build = choose_build("auto", gpu)
    assert build.kind == "cuda"
    assert build.tags == ("cu129", "cu128", "cu126"), "a driver for CUDA 12.8 runs every 12.x and no 13"
    assert "RTX 3060" in build.why


def test_an_old_card_keeps_cuda_12_although_the_driver_is_new() -> None:
    old = Gpu("nvidia", "GTX 1060", cuda=13.0, capability=6.1)
    assert choose_build("auto", old).tags == ("cu129", "cu128", "cu126")
    two = find_gpu(machine_with("NVIDIA RTX A4000, 8.6\nNVIDIA GeForce GTX 1060, 6.1\n"))
    assert two.capability == 6.1, "the oldest card decides"


def test_an_amd_card_takes_rocm_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    amd = Machine(rocm_smi___showproductname="GPU[0]\t\t: Card Series: \t\tRadeon RX 7900 XTX\n")
    assert find_gpu(amd) == Gpu("amd", "Radeon RX 7900 XTX")
    assert choose_build("auto", find_gpu(amd)).tags == ROCM_TAGS
    monkeypatch.setattr(platform, "system", lambda: "windows")
    assert find_gpu(amd) == Gpu("none")


def test_on_a_mac_there_is_one_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "macos")
    gpu = find_gpu(Machine(sysctl__n="Apple M3 Pro\n"))
    assert gpu == Gpu("apple", "Apple M3 Pro")
    for wish in torch_build.TorchChoice.__args__:  # type: ignore[attr-defined]
        assert choose_build(wish, gpu).tags == ()


def test_a_wish_wins_over_what_was_found() -> None:
    card = Gpu("nvidia", "RTX 3060", 13.0, 8.6)
    assert choose_build("cpu", card).kind == "cpu"
    assert choose_build("cuda", Gpu("none")).tags == CUDA_TAGS
    assert "--torch cuda" in choose_build("cuda", Gpu("none")).why


# --- its index -----------------------------------------------------------------------------------------------------


def test_the_first_index_that_has_the_version_is_taken() -> None:
    pages = {"cu130": "torch-2.12.0%2Bcu130-cp311", "cu129": "", "cu128": '<a href="torch-2.13.0%2Bcu128-cp311.whl">'}
    build = choose_build("cuda", Gpu("none"))
    assert index_for(build, "2.13.0", lambda url: pages.get(url.split("/")[-3], "")) == f"{torch_build.WHEELS}/cu128"
    assert index_for(build, "2.13.1", lambda url: pages.get(url.split("/")[-3], "")) is None


def test_an_index_that_cannot_be_reached_is_asked_once() -> None:
    asked: list[str] = []

    def refuse(url: str) -> str:
        asked.append(url)
        raise ConnectionRefusedError(111, "refused")

    assert index_for(choose_build("cuda", Gpu("none")), "2.13.0", refuse) is None
    assert len(asked) == 1


def test_an_index_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "_PROBE_SECONDS", 0.1)
    never = threading.Event()

    def hang(url: str) -> str:
        never.wait(30)
        return ""

    assert index_for(choose_build("cpu", Gpu("none")), "2.13.0", hang) is None
    never.set()


@pytest.mark.parametrize(("status", "found"), [(200, True), (404, False), (500, False)])
def test_a_real_answer_over_http(status: int, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'<a href="torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl">')

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch_build, "WHEELS", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    try:
        answer = index_for(choose_build("cpu", Gpu("none")), "2.13.0")
    finally:
        server.shutdown()
        server.server_close()
    assert answer == (f"http://127.0.0.1:{server.server_port}/cpu" if found else None)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", "cpu"),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "cuda"),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.2'\n", "rocm"),
    ],
)
@pytest.mark.parametrize("place", ["lib/python3.12/site-packages", "Lib/site-packages"])
def test_the_build_that_is_installed(text: str, kind: str, place: str, tmp_path: Path) -> None:
    assert installed_build(tmp_path) is None
    (tmp_path / place / "torch").mkdir(parents=True)
    (tmp_path / place / "torch" / "version.py").write_text(text)
    assert installed_build(tmp_path) == kind
