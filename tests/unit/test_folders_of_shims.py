"""A shim mounts what the operator named, however it is asked."""

from __future__ import annotations

from pathlib import Path

from outrider.sandbox.folders import Folders


def test_a_shim_knows_the_operators_folders_only_and_writes_where_it_may(tmp_path: Path) -> None:
    folders = Folders({"docs": [str(tmp_path), False], "gone": [str(tmp_path / "gone"), True]})
    assert folders.problem([["docs", False]]) is None
    assert folders.problem([["docs", True]]) == "The folder docs may only be read."
    assert folders.problem([["../etc", False]]) == "This sandbox host has no folder ../etc."
    assert folders.problem([["gone", True]]) == "This sandbox host has no folder gone."


def test_a_sandbox_is_begun_anew_only_where_other_folders_are_asked_for(tmp_path: Path) -> None:
    folders = Folders({"docs": [str(tmp_path), True]})
    assert not folders.take([])
    assert folders.take([["docs", True]])
    assert folders.binds() == ["--bind", str(tmp_path), "/mnt/folders/docs"]
    assert not folders.take([["docs", True]])
    assert folders.take([["docs", False]])
    assert folders.binds() == ["--ro-bind", str(tmp_path), "/mnt/folders/docs"]
