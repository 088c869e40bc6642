"""Which browser the tests of the web editor get."""

import pytest

from psa_pack.tools.dev import browser


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a browser; returns a folder on its PATH."""
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder, name):
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_playwrights_own_comes_before_the_systems(machine):
    assert list(browser.candidates()) == [None]
    chrome = put(machine, "google-chrome")
    chromium = put(machine, "chromium")
    assert list(browser.candidates()) == [None, chromium, chrome]


def test_a_named_one_is_the_only_one(machine, monkeypatch):
    put(machine, "chromium")
    monkeypatch.setenv(browser.VARIABLE, "/opt/mine/chrome")
    assert list(browser.candidates()) == ["/opt/mine/chrome"]


def test_nothing_is_fetched_where_there_is_one(machine, tmp_path):
    put(machine, "chromium")
    # an interpreter that does not exist: it would fail if it were asked for anything
    browser.ensure(tmp_path / "no-python", tmp_path / ".dev", tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_a_failed_download_does_not_end_the_set_up(machine, tmp_path, capsys):
    python = tmp_path / "python"
    put(machine, "python")
    python.write_text("#!/bin/sh\necho no such host\nexit 1\n")
    browser.ensure(python, tmp_path / ".dev", tmp_path / "log")
    assert "will be skipped" in capsys.readouterr().out
    assert "no such host" in (tmp_path / "log").read_text()
