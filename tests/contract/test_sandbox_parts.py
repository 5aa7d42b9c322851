"""Parts of the sandbox on their own: control groups on a made-up tree, output, inputs, erasing, the bwrap to use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from outrider.sandbox import cgroups, erase, etc, inputs, launcher, output, outputs, sealing, walk
from outrider.sandbox.journal import SPOOL_BYTES, Journal


def delegated(mount: Path, path: str, *, controllers: str = "cpu memory pids", true_root: bool = False) -> Path:
    """A tree that looks like cgroup version 2, as far as files go."""
    home = mount / path.lstrip("/")
    home.mkdir(parents=True, exist_ok=True)
    (mount / "cgroup.controllers").write_text(controllers)
    if not true_root:
        (mount / "cgroup.type").write_text("domain")
    (home / "cgroup.controllers").write_text(controllers)
    (home / "cgroup.subtree_control").write_text("")
    (home / "cgroup.procs").write_text("41\n42\n")
    for below in (home / "outrider-host", home / cgroups.GROUP):
        below.mkdir()
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (below / name).write_text("")
    (home / cgroups.GROUP / "cgroup.controllers").write_text(controllers)
    (home / cgroups.GROUP / "cgroup.subtree_control").write_text(controllers)
    return home


def test_a_delegated_group_is_used_after_its_processes_were_moved_aside(tmp_path: Path) -> None:
    home = delegated(tmp_path, "/user.slice/ours.scope")
    found = cgroups.find(str(tmp_path), "0::/user.slice/ours.scope\n", root=False)
    assert found.version == 2
    assert set(found.places) == {"cpu", "memory", "pids"}
    assert set(found.places.values()) == {str(home / cgroups.GROUP)}
    assert (home / "outrider-host" / "cgroup.procs").read_text() in ("42", "4142")
    assert (home / "cgroup.subtree_control").read_text().startswith("+")


def test_limits_are_written_where_only_the_inside_is_held(tmp_path: Path) -> None:
    home = delegated(tmp_path, "/ours.scope")
    group = home / cgroups.GROUP / "sesn_a"
    for name in (group, group / "shim", group / "inside"):
        name.mkdir()
        for file in ("cgroup.procs", "cgroup.controllers", "cgroup.subtree_control", "memory.swap.max"):
            (name / file).write_text("")
        for file in ("memory.max", "pids.max", "cpu.max"):
            (name / file).write_text("")
    found = cgroups.find(str(tmp_path), "0::/ours.scope\n", root=False)
    shim, inside = cgroups.make(found, "sesn_a", os.getuid(), cgroups.Ceilings(1 << 20, 64, 1.5))
    assert shim == [str(group / "shim" / "cgroup.procs")]
    assert inside == [str(group / "inside" / "cgroup.procs")]
    written = {name: (group / "inside" / name).read_text() for name in ("memory.max", "pids.max", "cpu.max")}
    assert written == {"memory.max": "1048576", "pids.max": "64", "cpu.max": "150000 100000"}
    assert (group / "shim" / "memory.max").read_text() == ""


def test_groups_of_forgotten_sessions_are_swept(tmp_path: Path) -> None:
    for name in ("sesn_known", "sesn_gone"):
        (tmp_path / name).mkdir()
    cgroups.sweep(cgroups.Found(1, {"memory": str(tmp_path)}), {"sesn_known"})
    assert [path.name for path in tmp_path.iterdir()] == ["sesn_known"]


def test_a_group_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory")
    (tmp_path / "session.scope").mkdir()
    found = cgroups.find(str(tmp_path), "0::/session.scope\n", root=False)
    assert not found.places
    assert found.problem == "no delegated cgroup"
    assert not cgroups.find(str(tmp_path / "absent"), "1:memory:/\n", root=False).places


def test_control_sequences_of_all_kinds_are_removed() -> None:
    noisy = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;link\x1b\\text\x1b[?25l\x1b(B\x1b[2K!\x00\n\n"
    assert output.clean(noisy) == "red text!"


def test_the_tail_of_a_stream_is_kept_and_marked() -> None:
    tail = output.Tail()
    for number in range(60_000):
        tail.add(b"%d\n" % number)
    kept = tail.text()
    assert kept.startswith(output.TRUNCATED)
    assert kept.endswith("59998\n59999")
    assert len(kept) <= output.OUTPUT_LIMIT + len(output.TRUNCATED)


@pytest.mark.parametrize(
    ("tool", "given", "said"),
    [
        ("bash", {"command": "a\x00b"}, "bash: command must not contain a NUL character"),
        ("bash", {"command": "\ud800"}, "bash: command must be valid Unicode"),
        ("bash", {"command": "x", "timeout_ms": True}, "bash: timeout_ms must be a whole number"),
        ("bash", {"restart": "yes"}, "bash: restart must be true or false"),
        ("read", {"file_path": ""}, "read: file_path must not be empty"),
        ("edit", {"file_path": "x", "old_string": "", "new_string": "y"}, "edit: old_string must not be empty"),
        ("read", {"file_path": "x", "view_range": [1, 2.5]}, "read: view_range must be"),
    ],
)
def test_a_broken_rule_names_field_and_rule(tool: str, given: dict[str, object], said: str) -> None:
    problem = inputs.problem(tool, given)
    assert problem is not None
    assert problem.startswith(said)


def test_null_counts_as_absent() -> None:
    assert inputs.problem("read", {"file_path": "x", "view_range": None}) is None
    assert inputs.problem("write", {"file_path": "x", "content": None}) == "write: content is required"


def test_a_journal_is_read_back_with_its_epoch(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "journal"))
    journal.start("sevt_1", 3, "bash")
    journal.raise_epoch(7)
    journal.finish("sevt_1", {"content": [], "is_error": False})
    again = Journal(str(tmp_path / "journal"))
    assert again.epoch == 7
    assert again.started("sevt_1")
    assert not again.started("sevt_2")
    assert again.outcome("sevt_1") == {"content": [], "is_error": False}


def test_an_outcome_that_a_power_cut_left_empty_is_none(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.start("sevt_1", 1, "bash")
    (tmp_path / "outcomes" / "sevt_1").write_bytes(b"")
    assert journal.started("sevt_1")
    assert journal.outcome("sevt_1") is None


def test_a_spool_stays_bounded_and_keeps_the_end(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    spool = journal.spool("sevt_1")
    for number in range(40):
        spool.write(b"%02d" % number * 32_768)
    spool.close()
    assert (tmp_path / "spool" / "sevt_1").stat().st_size <= 2 * SPOOL_BYTES
    assert (tmp_path / "spool" / "sevt_1").read_bytes().endswith(b"39")


def test_erasing_refuses_to_begin_at_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        erase.empty(str(tmp_path / "link"))
    erase.empty(str(tmp_path))
    assert not list(tmp_path.iterdir())


def dug(top: Path, depth: int) -> None:
    """As many directories, each in the last one, with a file in each."""
    at = os.open(top, walk.DIRECTORY)
    for number in range(depth):
        os.close(os.open(str(number), os.O_CREAT, dir_fd=at))
        os.mkdir("d", dir_fd=at)
        below = os.open("d", walk.DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_a_walk_meets_everything_once_at_any_depth_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    dug(tmp_path, 2 * walk.HELD)
    open_before = len(os.listdir("/proc/self/fd"))
    met = [(len(entry.above), entry.name) for entry in walk.walk(str(tmp_path))]
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert sorted(met) == sorted([(0, "link"), *((n, name) for n in range(2 * walk.HELD) for name in ("d", str(n)))])
    erase.empty(str(tmp_path))


@pytest.mark.parametrize(("depth", "lost"), [(2, False), (walk.HELD + 10, True)])
def test_what_is_moved_under_a_walk_leads_it_nowhere_else(tmp_path: Path, depth: int, lost: bool) -> None:
    (tmp_path / "top").mkdir()
    dug(tmp_path / "top", depth)
    met: list[str] = []

    def look() -> None:
        for entry in walk.walk(str(tmp_path / "top")):
            met.append(entry.name)
            if entry.name == str(depth - 1):  # now its directory goes elsewhere
                os.rename(f"/proc/self/fd/{entry.at}/../d", tmp_path / "elsewhere")

    if lost:
        with pytest.raises(walk.Moved):
            look()
    else:
        look()
    assert "top" not in met
    assert met.count("elsewhere") == 0
    erase.empty(str(tmp_path))


def test_what_a_build_made_becomes_a_layer_and_goes_again_however_deep_it_lies(tmp_path: Path) -> None:
    own, layer, deep = tmp_path / "own", "0" * 32, sys.getrecursionlimit() + 10
    layers = tmp_path / sealing.FOLDER
    for place in (draft := own / sealing.DRAFT, layers):
        place.mkdir(parents=True)
    dug(draft, deep)
    (draft / "d" / "d").chmod(0)
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    assert sealing.finished(str(own), lock)
    os.close(lock)
    sealing.sealed(str(tmp_path), str(own), layer, {}, "")
    met = {oct(entry.status.st_mode & 0o777) for entry in walk.walk(str(layers / layer / "tree"))}
    assert met == {"0o755"}
    assert sealing.collect(str(tmp_path), 0, lambda: False) == [layer]
    assert list(layers.iterdir()) == []


def test_nothing_is_mounted_beneath_what_the_agent_can_write() -> None:
    words = launcher.command("bwrap", "/root", "/own", {"tmp": 1, "shm": 1, "run": 1}, info_fd=3, filter_fd=4)
    writable = ["/workspace", "/mnt/session/outputs", "/tmp", "/run", "/dev/shm"]
    two = {"--bind", "--ro-bind", "--symlink"}
    targets = [words[at + 2] for at, word in enumerate(words) if word in two]
    targets += [words[at + 1] for at, word in enumerate(words) if word in ("--tmpfs", "--proc", "--dev")]
    assert set(writable) <= set(targets)
    for place in writable:
        assert not [target for target in targets if target.startswith(f"{place}/")], place
    assert words.index("--remount-ro") > 0
    assert {"--unshare-net", "--disable-userns", "--die-with-parent", "--as-pid-1", "--clearenv"} <= set(words)


def test_what_stands_in_the_way_of_an_old_etc_keeps_no_zygote_from_starting(tmp_path: Path) -> None:
    run, beyond = tmp_path / "run", tmp_path / "beyond"
    for place in (run / ".etc-old", beyond / "kept"):
        place.mkdir(parents=True)
    (run / ".etc-file").touch()
    (run / ".etc-link").symlink_to(beyond)
    (run / ".etc-nowhere").symlink_to("nowhere")
    place, held = etc.made(str(run))
    os.close(held)
    assert {path.name for path in run.iterdir()} == {".etc-file", ".etc-link", ".etc-nowhere", Path(place).name}
    assert (beyond / "kept").exists()


def test_the_packaged_bwrap_is_copied_with_its_libraries(tmp_path: Path) -> None:
    found, problem = launcher.find()
    assert found is not None, problem
    copied = launcher.install(found, str(tmp_path))
    assert launcher.install(found, str(tmp_path)) == copied
    if copied != found:
        assert copied.startswith(str(tmp_path))
        assert launcher.version(copied) == launcher.version(found) > (0, 8)


def test_no_link_on_the_way_to_an_output_is_followed(tmp_path: Path) -> None:
    """Even where the mark is that of the file behind the link."""
    root, beyond = tmp_path / "outputs", tmp_path / "beyond"
    for place in (root, beyond):
        (place / "d").mkdir(parents=True)
        (place / "d" / "a").write_text("there")
    inside, outside = (outputs.mark((place / "d" / "a").stat()) for place in (root, beyond))
    assert "data" in outputs.piece(str(root), "d/a", inside, 0)
    (root / "link").symlink_to(beyond / "d")
    assert outputs.piece(str(root), "link/a", outside, 0) == {"changed": True}


def test_what_of_the_outputs_is_not_looked_at_is_known_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "DEEPEST", 2)
    monkeypatch.setattr(outputs, "MOST_ENTRIES", 4)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/one", "two"):
        (tmp_path / name).touch()
    found, cut = outputs.listed(str(tmp_path))
    assert ([path for path, *_ in found], cut) == (["a/b/one", "two"], False)
    (tmp_path / "three").touch()
    found, cut = outputs.listed(str(tmp_path))
    assert ([path for path, *_ in found], cut) == (["a/b/one", "three"], True)
    (tmp_path / "three").unlink()
    (tmp_path / "two").unlink()
    (tmp_path / "a" / "b" / "deep").mkdir()
    assert outputs.listed(str(tmp_path))[1]
