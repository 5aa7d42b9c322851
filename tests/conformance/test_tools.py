"""The built-in tools at work in a real sandbox, as the model sees their results."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event as Pause
from typing import Any

from conftest_types import Play
from live_server import Server, Stage
from session_talk import Talk
from turns import TOOLSET, every, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.sandbox.inputs import DEFAULT_TIMEOUT_MS

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ROUNDS = 7  # of tool calls a turn; this server is configured to end a turn after 8


def bash(command: str, **more: Any) -> ToolUse:
    return ToolUse("bash", {"command": command, **more})


def read(path: str, **more: Any) -> ToolUse:
    return ToolUse("read", {"file_path": path, **more})


def write(path: str, content: str) -> ToolUse:
    return ToolUse("write", {"file_path": path, "content": content})


def edit(path: str, old: str, new: str, **more: Any) -> ToolUse:
    return ToolUse("edit", {"file_path": path, "old_string": old, "new_string": new, **more})


def glob(pattern: str, **more: Any) -> ToolUse:
    return ToolUse("glob", {"pattern": pattern, **more})


def grep(pattern: str, **more: Any) -> ToolUse:
    return ToolUse("grep", {"pattern": pattern, **more})


def worked(play: Play, *steps: ToolUse) -> Talk:
    """A session whose model has made these calls one after the other, a few in each turn."""
    parts = [steps[start : start + ROUNDS] for start in range(0, len(steps), ROUNDS)]
    answers = [answer for part in parts for answer in (*(Turn(step) for step in part), Turn("Done."))]
    talk = play(*answers, tools=[TOOLSET])
    for _ in parts:
        assert said(talk, "work")[-1].stop_reason.type == "end_turn"
    return talk


def outcomes(play: Play, *steps: ToolUse) -> list[Any]:
    """The results of these calls."""
    events = worked(play, *steps).history()
    assert not every(events, "session.error")
    found = every(events, "agent.tool_result")
    assert [one.tool_use_id for one in found] == [use.id for use in every(events, "agent.tool_use")]
    return found


def texts(play: Play, *steps: ToolUse) -> list[str]:
    """The same, when each of them should succeed with text."""
    found = outcomes(play, *steps)
    assert not [text_of(one) for one in found if one.is_error]
    return [text_of(one) for one in found]


@requirement("tools:bash:shell-lasts", "tools:paths:workspace", "tools:bash:restart")
def test_one_shell_lasts_until_it_is_restarted(play: Play) -> None:
    found = texts(
        play,
        bash("pwd; mkdir sub; cd sub; colour=red; greet() { echo hello; }"),
        bash("pwd; echo $colour; greet"),
        ToolUse("bash", {"restart": True}),
        bash("pwd; echo ${colour:-unset}"),
    )
    assert found == ["/workspace", "/workspace/sub\nred\nhello", "bash session restarted", "/workspace\nunset"]


@requirement("tools:bash:timeout:expired", "tools:bash:timeout:default")
def test_a_command_over_its_time_is_killed_with_its_shell(play: Play) -> None:
    expired, after = outcomes(play, bash("kept=1; echo begun; sleep 30", timeout_ms=500), bash("echo ${kept:-gone}"))
    assert expired.is_error
    assert text_of(expired).startswith("bash command timed out after 0.5s")
    assert text_of(after) == "gone"
    assert DEFAULT_TIMEOUT_MS == 120_000


@requirement("tools:bash:merged-output", "tools:bash:stdin", "tools:result:empty")
def test_output_is_merged_and_clean_and_input_is_empty(play: Play) -> None:
    found = texts(
        play,
        bash("echo one; echo two >&2; printf '\\033[31mthree\\033[0m\\n'; echo four"),
        bash('cat; read line; echo "got <$line>"'),
        bash("true"),
    )
    assert found == ["one\ntwo\nthree\nfour", "got <>", "(no output)"]


@requirement("tools:bash:exit-code", "tools:bash:no-command", "tools:result:error", "tools:result:bad-input")
def test_failures_are_results_with_an_error_flag(play: Play) -> None:
    failed, nothing, odd, missing, unknown = outcomes(
        play,
        bash("echo partly; (exit 3)"),
        ToolUse("bash", {}),
        ToolUse("bash", {"command": ["ls"]}),
        ToolUse("read", {}),
        ToolUse("glob", {"pattern": "*", "colour": "red"}),
    )
    assert all(one.is_error for one in (failed, nothing, odd, missing, unknown))
    assert text_of(failed).startswith("partly")
    assert "command" in text_of(nothing)
    assert "command" in text_of(odd)
    assert "file_path" in text_of(missing)
    assert "colour" in text_of(unknown)


@requirement("tools:result:bad-input")
def test_an_input_that_is_no_json_object_is_an_error_result(play: Play) -> None:
    talk = play(Turn(ToolUse("bash", raw='{"command": "pw')), Turn("Done."), tools=[TOOLSET])
    (outcome,) = every(said(talk, "work"), "agent.tool_result")
    assert outcome.is_error


@requirement("tools:bash:no-anthropic-variables")
def test_no_variable_of_the_server_reaches_a_command(play: Play) -> None:
    (names,) = texts(play, bash("env | cut -d= -f1"))
    assert "PATH" in names.splitlines()
    assert not [name for name in names.splitlines() if name.startswith(("ANTHROPIC_", "OUTRIDER_"))]


@requirement("tools:bash:truncated", "tools:result:long")
def test_a_long_output_keeps_its_end_and_a_long_result_goes_to_a_file(play: Play) -> None:
    wide = "printf 'é%.0s' $(seq 60000)"  # 120,000 bytes
    kept, preview = texts(play, bash(wide), bash("seq 100000 120000"))
    assert kept == "[output truncated]\n" + "é" * (100 * 1024 // 2)
    assert preview.startswith("[output truncated]\n")
    assert preview.endswith("119999\n120000")
    assert len(preview) < 10_000


@requirement("tools:result:long")
def test_the_file_of_a_long_result_can_be_read_by_the_agent(play: Play, stage: Stage, model_name: str) -> None:
    def decide(request: Request) -> Turn:
        if request.replies == 0:
            return Turn(bash("seq 100000 114399"))
        if request.replies == 1:
            preview = request.messages[-1]["content"][0]["content"][0]["text"]
            path = next(word for word in preview.split() if word.startswith("/"))
            return Turn(bash(f"head -n 1 {path}; wc -l < {path}; tail -n 1 {path}"))
        return Turn("Done.")

    talk = play(decide=decide, tools=[TOOLSET])
    found = [text_of(one) for one in every(said(talk, "work"), "agent.tool_result")]
    first, lines, last = found[1].split()
    assert (first, last) == ("100000", "114399")
    assert int(lines) in (14399, 14400)


@requirement("tools:write:creates", "tools:read:text", "tools:paths:outputs")
def test_a_file_is_written_with_its_parents_and_read_back(play: Play, server: Server) -> None:
    talk = worked(
        play,
        write("a/b/c.txt", "one\ntwø\n"),
        read("/workspace/a/b/c.txt"),
        write("a/b/c.txt", "new"),
        read("a/b/c.txt"),
        write("/mnt/session/outputs/report.md", "# Report"),
    )
    made, first, again, second, report = every(talk.history(), "agent.tool_result")
    assert "9 bytes" in text_of(made)
    assert "a/b/c.txt" in text_of(made)
    assert text_of(first) == "one\ntwø\n"
    assert "3 bytes" in text_of(again)
    assert text_of(second) == "new"
    assert not report.is_error
    own = server.data / "sandboxes" / "sessions" / talk.id / "own"
    assert (own / "outputs" / "report.md").read_text() == "# Report"


@requirement("tools:read:view-range")
def test_a_range_of_lines_is_counted_from_one_and_inclusive(play: Play) -> None:
    _, *found = texts(
        play,
        bash("seq 1 9 > lines"),
        read("lines", view_range=[2, 4]),
        read("lines", view_range=[8, 0]),
        read("lines", view_range=[8, -1]),
        read("lines", view_range=[9, 99]),
    )
    assert [one.split() for one in found] == [["2", "3", "4"], ["8", "9"], ["8", "9"], ["9"]]


@requirement("tools:read:too-large", "tools:read:not-utf8", "tools:read:special", "tools:read:range-of-media")
def test_what_cannot_be_read_is_an_error_that_says_why(play: Play) -> None:
    make = "head -c 262144 /dev/zero | tr '\\0' a > full; cp full large; echo b >> large; printf '\\xff\\xfe' > binary"
    _, full, *broken = outcomes(
        play,
        bash(f"{make}; mkfifo pipe; echo x > a.png; echo x > a.pdf"),
        read("full"),
        read("large"),
        read("binary"),
        read("/workspace"),
        read("/dev/null"),
        read("pipe"),
        read("missing"),
        read("a.png", view_range=[1, 2]),
        read("a.pdf", view_range=[1, 2]),
    )
    assert not full.is_error
    assert all(one.is_error for one in broken)
    large, binary, directory, device, pipe, missing, *media = (text_of(one) for one in broken)
    assert "view_range" in large
    assert "UTF-8" in binary
    assert "directory" in directory
    assert "not a regular file" in device
    assert "not a regular file" in pipe
    assert "no such file" in missing
    assert all("view_range" in one for one in media)


@requirement("tools:read:image", "tools:read:pdf")
def test_images_and_pdfs_are_blocks_for_the_model_up_to_a_limit(play: Play, stage: Stage, model_name: str) -> None:
    make = f"echo {PNG} | base64 -d > a.png; cp a.png a.webp; printf '%%PDF-1.4' > a.pdf"
    big = "truncate -s 3932160 most.png; truncate -s 3932161 over.png; truncate -s 20971521 over.pdf"
    steps = [bash(f"{make}; {big}"), *map(read, ("a.png", "a.webp", "a.pdf", "over.png", "over.pdf"))]
    _, png, webp, pdf, *over = outcomes(play, *steps)
    assert png.content[0].to_dict() == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    }
    assert webp.content[0].source.media_type == "image/webp"
    assert (pdf.content[0].type, pdf.content[0].source.media_type) == ("document", "application/pdf")
    assert all(one.is_error and "exceeds" in text_of(one) for one in over)
    last = stage.requests(model_name)[-1]["messages"]
    sent = [block["content"] for one in last for block in one["content"] if block["type"] == "tool_result"]
    assert sent[1][0]["source"]["data"] == PNG
    (most,) = outcomes(play, bash("truncate -s 3932160 most.png"), read("most.png"))[1:]
    assert most.content[0].type == "image"


@requirement("tools:edit:unique", "tools:edit:replace-all")
def test_an_edit_replaces_one_exact_match_or_all_when_asked(play: Play) -> None:
    _, done, content, none, several, every_one, after = outcomes(
        play,
        write("f", "red green red blue"),
        edit("f", "green", "yellow"),
        read("f"),
        edit("f", "violet", "x"),
        edit("f", "red", "x"),
        edit("f", "red", "pink", replace_all=True),
        read("f"),
    )
    assert not done.is_error
    assert text_of(content) == "red yellow red blue"
    assert (none.is_error, several.is_error) == (True, True)
    assert "old_string not found" in text_of(none)
    assert "appears 2 times in f (must be unique)" in text_of(several)
    assert not every_one.is_error
    assert "2" in text_of(every_one)
    assert text_of(after) == "pink yellow pink blue"


@requirement("tools:glob:newest-first", "tools:glob:none", "tools:glob:refused")
def test_glob_lists_paths_newest_first_and_refuses_to_climb(play: Play) -> None:
    make = "mkdir -p d/e; for i in $(seq 1 205); do touch -d @$((1000000 + i)) d/e/$i.txt; done"
    _, found, under, nothing, absolute, climbing, everything, listed = outcomes(
        play,
        bash(f"{make}; touch top.md; mkdir closed; touch -d @1000500 closed/x closed; chmod 644 closed"),
        glob("**/*.txt"),
        glob("*.txt", path="/workspace/d/e"),
        glob("*.none"),
        glob("/etc/*"),
        glob("../*"),
        glob("d/**"),
        glob("closed/**"),
    )
    paths = text_of(found).splitlines()
    assert paths == [f"/workspace/d/e/{number}.txt" for number in range(205, 5, -1)]
    assert text_of(under).splitlines() == paths
    assert text_of(everything).splitlines() == ["/workspace/d/e", "/workspace/d", *paths[:198]]
    assert text_of(listed).splitlines() == ["/workspace/closed", "/workspace/closed/x"]
    assert (nothing.is_error, text_of(nothing)) == (False, "no matches")
    assert (absolute.is_error, climbing.is_error) == (True, True)


@requirement("tools:grep:lines", "tools:grep:skips", "tools:glob:none")
def test_grep_answers_with_places_and_leaves_out_what_is_no_source(play: Play) -> None:
    make = (
        "mkdir -p .git node_modules/x src; for f in .git/a node_modules/x/b src/c.py src/d.py; do echo 'find me' > $f;"
        " done; printf 'find me\\0' > binary; (head -c 2001 /dev/zero | tr '\\0' f; echo ' find me') > long;"
        " seq 1 20000 | sed 's/$/ many many/' > many"
    )
    _, found, single, nothing, capped, broken = outcomes(
        play,
        bash(make),
        grep("find .e"),
        grep("^find", path="/workspace/src/c.py"),
        grep("not there"),
        grep("many"),
        grep("("),
    )
    assert text_of(found).splitlines() == ["/workspace/src/c.py:1:find me", "/workspace/src/d.py:1:find me"]
    assert text_of(single) == "/workspace/src/c.py:1:find me"
    assert text_of(nothing) == "no matches"
    assert len(text_of(capped)) <= 100 * 1024 + 100
    assert broken.is_error


@requirement("tools:paths:confined")
def test_the_file_tools_see_what_the_sandbox_shows_and_no_more(play: Play, server: Server) -> None:
    secret = server.data / "server.json"
    assert secret.exists()
    found = outcomes(
        play,
        bash(f"ln -s {secret} link; ls {secret}"),
        read(str(secret)),
        read("link"),
        read(f"/workspace/../..{secret}"),
        write("/etc/made", "x"),
        write("/usr/made", "x"),
        grep("url", path=str(secret)),
    )
    assert all(one.is_error for one in found)
    assert not Path("/etc/made").exists()
    assert not Path("/usr/made").exists()


@requirement("ordering:tools:results-as-finished", "emitted:agent.tool_result")
def test_results_are_told_as_the_calls_finish(play: Play, server: Server) -> None:
    slow, quick = bash("until [ -e go ]; do sleep 0.02; done; echo slow"), write("quick", "")
    talk = play(Turn(slow, quick), Turn("Done."), tools=[TOOLSET])
    with talk.stream() as reader:
        talk.say("work")
        first, second = (reader.until("agent.tool_use").id for _ in range(2))
        assert reader.until("agent.tool_result").tool_use_id == second
        (own_directory(server, talk) / "own" / "workspace" / "go").touch()
        outcome = reader.until("agent.tool_result")
        assert (outcome.tool_use_id, text_of(outcome)) == (first, "slow")
        reader.idle("end_turn")


@requirement("events:interrupt:running-tool", "events:interrupt:open-calls")
def test_an_interrupt_stops_one_call_although_another_is_done(play: Play) -> None:
    talk = play(Turn(bash("sleep 60"), write("quick", "")), Turn("Done."), tools=[TOOLSET])
    with talk.stream() as reader:
        talk.say("work")
        slow = reader.until("agent.tool_use").id
        reader.until("agent.tool_result")
        talk.send({"type": "user.interrupt"})
        stopped = reader.until("agent.tool_result")
        assert (stopped.tool_use_id, stopped.is_error) == (slow, True)
        reader.idle("end_turn")


def own_directory(server: Server, talk: Talk) -> Path:
    return server.data / "sandboxes" / "sessions" / talk.id


@requirement("sessions:no-hands-needed", "sessions:delete:sandbox")
def test_a_sandbox_comes_with_the_first_tool_and_goes_with_the_session(play: Play, server: Server) -> None:
    talk = play(Turn("No need."), Turn(bash("echo x > f")), Turn("Done."), tools=[TOOLSET])
    said(talk, "think")
    assert not own_directory(server, talk).exists()
    assert not (server.data / "run" / "s" / talk.id).exists()
    said(talk, "work")
    assert (own_directory(server, talk) / "own" / "workspace" / "f").exists()
    assert (server.data / "run" / "s" / talk.id).exists()
    talk.client.beta.sessions.delete(talk.id)
    gone(own_directory(server, talk))
    gone(server.data / "run" / "s" / talk.id)


def gone(path: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while path.exists():
        assert time.monotonic() < deadline, path
        Pause().wait(0.02)


@requirement("environments:sandbox:checkpoint")
def test_files_outlive_a_sandbox_that_was_stopped_while_idle(play_other: Play, other_server: Server) -> None:
    steps = [Turn(bash("echo kept > note; colour=red")), Turn("Written.")]
    talk = play_other(*steps, Turn(bash("cat note; echo ${colour:-unset}")), Turn("Read."), tools=[TOOLSET])
    said(talk, "write")
    gone(other_server.data / "run" / "s" / talk.id)
    assert text_of(every(said(talk, "read"), "agent.tool_result")[-1]) == "kept\nunset"


@requirement("sessions:no-hands-needed")
def test_a_turn_without_tools_leaves_nothing_of_a_sandbox_behind(play: Play, server: Server) -> None:
    talk = play(Turn("No tool is needed."))
    said(talk, "hello")
    assert not (server.data / "sandboxes" / "sessions" / talk.id).exists()
