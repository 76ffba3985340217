"""Every refusal of config.toml has one shape, whoever reads it first: launch.py, the web process or the engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.import_paths import import_paths
from engine.errors import ConfigError
from engine.launcher.quick_settings import read_quick_settings
from engine.settings import ROOT, MemorySettings, load_settings

NOT_TOML = [
    (b"[ui\nport = 1\n", "line 1, column 4 is not TOML: expected ']' at the end of a table declaration"),
    (b"[ui]\nport = \n", "line 2, column 8 is not TOML: invalid value"),
    (b'[ui]\nhost = "a\n', "line 2, column 10 is not TOML: illegal character '\\n'"),
    (b"[ui]\n# \xff\xfe\n", "line 2 holds bytes that are not UTF-8 text"),
]
WRONG = [
    ("[ui]\nprot = 1\n", "config_unknown_key", "there is no setting “prot” in [ui]", "Did you mean “port”?"),
    ("[uii]\n", "config_unknown_key", "there is no setting “uii” in the file", "Did you mean “ui”?"),
    (
        "[memory]\nzzz = 1\n",
        "config_unknown_key",
        "there is no setting “zzz” in [memory]",
        f"Known: {', '.join(MemorySettings.model_fields)}.",
    ),
    (
        '[ui]\nport = "x"\n',
        "config_bad_value",
        "the value of “port” in [ui] is not usable: it must be a whole number",
        "Correct the value, or delete the line.",
    ),
    (
        "[ui]\nport = 99999\n",
        "config_bad_value",
        "the value of “port” in [ui] is not usable: it must be at most 65535",
        "Correct the value, or delete the line.",
    ),
    (
        '[engine]\ndevice = "gpu"\n',
        "config_bad_value",
        "the value of “device” in [engine] is not usable: it must be 'auto', 'cpu', 'cuda' or 'mps'",
        "Correct the value, or delete the line.",
    ),
    (
        '[paths]\nextra = "x"\n',
        "config_bad_value",
        "the value of “extra” in [paths] is not usable: it must be a list",
        "Correct the value, or delete the line.",
    ),
    ("paths = 3\n", "config_bad_value", "“paths” in the file must be a table", "Begin it with a line [paths]."),
    (
        '[catalogue.models.a]\nname = "x"\n',
        "config_bad_value",
        "“path” is missing in [catalogue.models.a]",
        "Add the line.",
    ),
]


@pytest.mark.parametrize(("content", "why"), NOT_TOML)
def test_what_is_no_toml_is_told_alike_by_all_readers(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(content)
    (tmp_path / "webui" / "models" / "Stable-diffusion").mkdir(parents=True)
    told = []
    for read in (
        lambda: read_quick_settings(tmp_path, file, None),
        lambda: load_settings(file),
        lambda: import_paths(tmp_path / "webui", file),
    ):
        with pytest.raises(ConfigError) as refused:
            read()
        told.append((refused.value.code, refused.value.message))
    assert told == [("config_unreadable", f"mine.toml: {why}.")] * 3


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for read in (lambda file: read_quick_settings(tmp_path, file, None), load_settings):
        with pytest.raises(ConfigError, match=r"^none\.toml: there is no such file\. Check --config\.$"):
            read(tmp_path / "none.toml")
    assert load_settings(None)
    assert read_quick_settings(tmp_path, None, None)


@pytest.mark.parametrize(("text", "code", "why", "hint"), WRONG)
@pytest.mark.parametrize("data", [None, "/somewhere"])
def test_a_wrong_setting_has_the_same_shape(
    tmp_path: Path, text: str, code: str, why: str, hint: str, data: str | None
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_settings(file, data=data)
    assert (refused.value.code, refused.value.message, refused.value.hint) == (code, f"mine.toml: {why}.", hint)


def test_both_processes_print_it_alike(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[ui]\nprot = 1\n", encoding="utf-8")
    options = ["--config", str(file), "--data", str(tmp_path)]
    said = []
    for module in (["webui", "--port", "0", "--listen", "--no-browser"], ["engine.cli.generate", "a fox"]):
        done = subprocess.run(
            [sys.executable, "-m", *module, *options], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode != 0
        said.append(done.stderr.strip())
    expected = "Easel: mine.toml: there is no setting “prot” in [ui]. Did you mean “port”? [config_unknown_key]"
    assert said == [expected] * 2
