"""What agents leave in /mnt/session/outputs becomes files of their session."""

from __future__ import annotations

import threading
import time

from anthropic import Anthropic
from conftest_types import Play
from live_server import Server
from on_disk import entries
from session_talk import Talk
from turns import TOOLSET, kinds, only, said

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

HERE = "cd /mnt/session/outputs && "


def bash(command: str) -> Turn:
    return Turn(ToolUse("bash", {"command": HERE + command}))


def left(client: Anthropic, talk: Talk) -> dict[str, bytes]:
    """The session's files by name, with what can be downloaded of each."""
    found = client.beta.files.list(scope_id=talk.id).data
    assert all(one.scope is not None and one.scope.id == talk.id and one.downloadable for one in found)
    assert len({one.filename for one in found}) == len(found)
    return {one.filename: client.beta.files.download(one.id).read() for one in found}


def turn(talk: Talk, text: str = "go") -> None:
    talk.say(text)
    talk.wait()


@requirement("outcomes:deliverables", "files:content", "files:list:scope")
def test_what_is_left_in_the_outputs_folder_can_be_downloaded_once_the_session_is_idle(
    client: Anthropic, play: Play, server: Server
) -> None:
    big = "head -c 2500000 /dev/zero | tr '\\0' x > deep/er/big.bin"
    talk = play(bash(f"mkdir -p deep/er && echo one > a.txt && {big}"), Turn("Done."), tools=[TOOLSET])
    turn(talk)
    assert left(client, talk) == {"a.txt": b"one\n", "big.bin": b"x" * 2_500_000}
    shown = {one.filename: one for one in client.beta.files.list(scope_id=talk.id)}
    assert shown["a.txt"].mime_type == "text/plain"
    assert shown["a.txt"].id in {one.id for one in client.beta.files.list(limit=10)}
    client.beta.sessions.delete(talk.id)
    assert client.beta.files.list(scope_id=talk.id).data == []
    ids = [one.id for one in shown.values()]
    assert client.beta.files.list(ids=ids).data == []
    assert not [place for one in ids for place in entries(server.data / "blobs", one)]


@requirement("outcomes:deliverables")
def test_a_changed_output_takes_the_place_of_what_it_was(client: Anthropic, play: Play) -> None:
    turns = (bash("echo one > a; echo two > b"), Turn("1"), bash("echo three > a; touch b; rm -f c"), Turn("2"),
             bash("rm a"), Turn("3"))  # fmt: skip
    talk = play(*turns, tools=[TOOLSET])
    turn(talk)
    before = {one.filename: one.id for one in client.beta.files.list(scope_id=talk.id)}
    turn(talk)
    assert left(client, talk) == {"a": b"three\n", "b": b"two\n"}
    after = {one.filename: one.id for one in client.beta.files.list(scope_id=talk.id)}
    assert (after["b"], after["a"] != before["a"]) == (before["b"], True)
    client.beta.files.delete(after["b"])
    turn(talk)
    assert left(client, talk) == {"a": b"three\n"}, "what was delivered stays, what was deleted stays away"


def test_an_output_that_is_too_large_for_a_file_is_told_of_before_the_session_is_idle(
    client: Anthropic, play: Play
) -> None:
    talk = play(bash("echo ok > a; truncate -s 501M huge"), Turn("Done."), tools=[TOOLSET])
    history = said(talk, "go")
    problem = only(history, "session.error").error
    assert (problem.type, problem.retry_status.type) == ("unknown_error", "retrying")
    assert "'huge' has more than the" in problem.message
    assert kinds(history)[-1] == "session.status_idle"
    assert history[-1].stop_reason.type == "end_turn"
    assert left(client, talk) == {"a": b"ok\n"}


def test_only_regular_files_are_taken_and_no_link_is_followed(client: Anthropic, play: Play) -> None:
    tricks = (
        "ln -s /etc/passwd link; ln -s /workspace dir; mkfifo pipe; echo s > /workspace/secret;"
        " ln /workspace/secret hard 2>/dev/null; mkdir -p x; ln -s ../.. x/up; echo ok > 'a:b?.txt';"
        " echo n > $'new\\nline'"
    )
    talk = play(bash(tricks), Turn("Done."), tools=[TOOLSET])
    turn(talk)
    assert left(client, talk) == {"a_b_.txt": b"ok\n", "new_line": b"n\n"}


def test_an_interrupted_turn_keeps_what_it_left(client: Anthropic, play: Play, server: Server) -> None:
    talk = play(bash("echo half > half.txt; sleep 60"), Turn("Never."), tools=[TOOLSET])
    with talk.stream() as reader:
        talk.say("go")
        reader.until("agent.tool_use")
        until_there(server, talk, "outputs/half.txt")
        talk.send({"type": "user.interrupt"})
        reader.until("session.status_idle")
    assert left(client, talk) == {"half.txt": b"half\n"}


def until_there(server: Server, talk: Talk, path: str) -> None:
    deadline = time.monotonic() + 20
    place = server.data / "sandboxes" / "sessions" / talk.id / "own" / path
    while not (place.exists() and place.stat().st_size):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
