"""Setting up for real: a virtual environment, pip, and tiny packages made here; no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine import platform
from engine.errors import SetupError
from engine.launcher import environment as setup
from engine.launcher.environment import Environment, ensure, find_environment
from engine.launcher.pip import explain
from engine.launcher.requirements import STAMP_NAME, Requirements, read_stamp

PINS = "# a comment\ntorch==1.0\ntorchvision==1.0\n\npaint==1.0  # why\nonly-there==1.0 ; sys_platform == 'never'\n"


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A real wheel with a few files."""
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    everything = {**files, **metadata}
    everything[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*everything, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in everything.items():
            wheel.writestr(path, text)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else; making one takes seconds, copying it does not."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def made(root: Path, bare: Path) -> Path:
    """The checkout with an empty environment in it."""
    shutil.copytree(bare, root / ".venv", symlinks=True)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two requirements files, and an index that is a folder."""
    index = tmp_path / "index"
    index.mkdir()
    make_wheel(index, "torch", "1.0", {"torch/version.py": "cuda = None\nhip = None\n"})
    make_wheel(index, "torchvision", "1.0", {"torchvision/__init__.py": ""})
    make_wheel(index, "paint", "1.0", {"paint.py": "colour = 'red'\n"})
    make_wheel(index, "paint", "2.0", {"paint.py": "colour = 'blue'\n"})
    make_wheel(index, "checks", "1.0", {"checks.py": ""})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    # As if launch.py had been started by a Python outside of any environment.
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(setup, "index_for", lambda build, version: None)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "requirements.txt").write_text(PINS)
    (checkout / "requirements-dev.txt").write_text("checks==1.0\n")
    return checkout


def colour(environment: Environment) -> str:
    command = [str(environment.python), "-c", "import paint, torch.version, torchvision; print(paint.colour)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_first_start_makes_an_environment_and_the_second_does_nothing(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Left half made by a first try, and its Python is gone since: its links lead nowhere.
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    environment = ensure(root)
    assert environment.own
    assert environment.prefix == root / ".venv"
    assert colour(environment) == "red"
    said = capsys.readouterr().out
    assert said.index("to download") < said.index("Everything is installed"), "the size is told first"
    assert "PyTorch for CPU" in said
    stamp = read_stamp(environment.prefix)
    assert stamp is not None
    assert stamp.torch == "cpu"

    monkeypatch.setattr(setup, "_install", lambda *_: pytest.fail("there is nothing to install"))
    assert ensure(root) == environment
    assert capsys.readouterr().out == ""


def test_a_changed_file_and_the_needs_of_the_tests_are_brought_up_to_date(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made
    environment = ensure(root)
    (root / "requirements.txt").write_text(PINS.replace("paint==1.0", "paint==2.0"))
    ensure(root)
    assert colour(environment) == "blue"
    assert "up to date" in capsys.readouterr().out

    ensure(root, tests=True)
    assert (platform.venv_python(environment.prefix)).exists()
    subprocess.run([str(environment.python), "-c", "import checks"], check=True)
    stamp = read_stamp(environment.prefix)
    assert stamp is not None
    assert set(stamp.hashes) == {"requirements.txt", "requirements-dev.txt"}
    ensure(root)
    stamp_after = read_stamp(environment.prefix)
    assert stamp_after == stamp, "running does not forget what the tests installed"


def test_a_package_that_is_not_there_is_named(made: Path) -> None:
    (made / "requirements.txt").write_text(PINS + "unheard-of==3.1\n")
    with pytest.raises(SetupError) as refused:
        ensure(made)
    assert refused.value.code == "setup_package_missing"
    assert "unheard-of==3.1" in refused.value.message
    assert not (made / ".venv" / STAMP_NAME).exists(), "a failed set-up is not taken for a finished one"


def test_without_network_it_says_so(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SetupError) as refused:
        ensure(made)
    assert refused.value.code == "setup_no_network"


def test_too_little_room_is_told_before_anything_is_fetched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 9 * 10**9, 10**9))  # type: ignore[attr-defined]
    with pytest.raises(SetupError, match=r"has 1\.0 GB free, and the packages need 2\.\d GB") as refused:
        ensure(root)
    assert refused.value.code == "setup_disk_full"
    assert not (root / ".venv" / "pyvenv.cfg").exists()


def test_a_place_where_nothing_can_be_written(root: Path) -> None:
    (root / ".venv").write_text("a file where the environment should be")
    with pytest.raises(SetupError) as refused:
        ensure(root)
    assert refused.value.code == "setup_failed"


def test_a_python_without_venv_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = setup.importlib.util.find_spec
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    with pytest.raises(SetupError, match="cannot make virtual environments") as refused:
        ensure(root)
    assert "sudo apt install python3." in refused.value.hint


def test_another_build_of_torch_replaces_the_one_that_is_there(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = ensure(made)
    (tmp_path / "index" / "torch-1.0-py3-none-any.whl").unlink()
    make_wheel(tmp_path / "index", "torch", "1.0", {"torch/version.py": "cuda = '13.0'\nhip = None\n"})
    ensure(made, "cuda")
    stamp = read_stamp(environment.prefix)
    assert stamp is not None
    assert stamp.torch == "cuda"
    capsys.readouterr()
    ensure(made, "cpu")
    assert "gave PyTorch for CUDA instead of CPU" in capsys.readouterr().out


# --- which environment ---------------------------------------------------------------------------------------------


def test_an_active_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert find_environment(tmp_path, {}) == Environment(
        tmp_path / ".venv", platform.venv_python(tmp_path / ".venv"), own=True
    )
    active = tmp_path / "active"
    python = platform.venv_python(active)
    assert find_environment(tmp_path, {"VIRTUAL_ENV": str(active)}).own, "an environment that is gone is not active"
    python.parent.mkdir(parents=True)
    python.touch()
    assert find_environment(tmp_path, {"VIRTUAL_ENV": str(active)}) == Environment(active, python, own=False)


def test_the_environment_that_runs_launch_py_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "mine"))
    found = find_environment(tmp_path, {})
    assert (found.prefix, found.python, found.own) == (tmp_path / "mine", Path(sys.executable), False)


# --- what pip says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "setup_disk_full"),
        ("OSError: [WinError 112] There is not enough space on the disk", "setup_disk_full"),
        ("NewConnectionError('…: Failed to establish a new connection: [Errno -2] Name or service not known')\n"
         "ERROR: No matching distribution found for gradio==6.31.0", "setup_no_network"),
        ("ReadTimeoutError(\"HTTPSConnectionPool(host='x', port=443): Read timed out.\")", "setup_no_network"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')): Max retries exceeded",
         "setup_no_network"),
        ("ERROR: [Errno 13] Permission denied: '/usr/lib/python3'", "setup_no_permission"),
        ("error: externally-managed-environment", "setup_no_permission"),
        ("ERROR: Could not find a version…\nERROR: No matching distribution found for torch==2.13.0",
         "setup_package_missing"),
        ("ERROR: something new", "setup_failed"),
        ("", "setup_failed"),
    ],
)  # fmt: skip
def test_each_failure_of_pip_is_one_sentence_with_its_reason(output: str, code: str) -> None:
    found = explain(output)
    assert found.code == code
    assert "\n" not in str(found)
    assert found.hint


def test_the_pins_of_this_repository_leave_torch_to_the_choice_of_build() -> None:
    pins = Requirements((Path(__file__).parents[2] / "requirements.txt",))
    assert pins.torch() == [f"torch=={pins.torch_version()}", pins.torch()[1]]
    assert pins.torch()[1].startswith("torchvision==")
    assert not any(line.lower().startswith("torch") and "torchsde" not in line for line in pins.lines())
