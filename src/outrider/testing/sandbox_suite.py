"""The conformance suite of the `Sandboxes` port: what every driver must do, as functions that take a driver.

Each takes the driver and a session of its own, and raises AssertionError. Owns no set-up: see `sandbox_given.SUITE`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from outrider.errors import CallLost, Fenced
from outrider.ports.sandbox import Output, OutputChanged, Sandboxes, ToolCall, ToolOutcome

Check = Callable[[Sandboxes, str], Awaitable[None]]
DEADLINE = 30.0
_numbers = itertools.count(1)


class Hands:
    """One thread's calls in one session, each under a new id unless it is given."""

    def __init__(self, sandboxes: Sandboxes, session: str, thread: str = "thread_1", epoch: int = 1) -> None:
        self.sandboxes = sandboxes
        self.session = session
        self.thread = thread
        self.epoch = epoch

    async def outcome(
        self, tool: str, given: dict[str, Any], *, id: str | None = None, resume: bool = False
    ) -> ToolOutcome:
        call = ToolCall(id or f"sevt_{next(_numbers)}", self.thread, tool, given)
        async with asyncio.timeout(DEADLINE):
            return await self.sandboxes.execute(self.session, call, epoch=self.epoch, resume=resume)

    async def bash(self, command: str, **more: Any) -> str:
        """The text of a command that succeeds."""
        return text(await self.outcome("bash", {"command": command, **more}), is_error=False)

    async def use(self, tool: str, **given: Any) -> str:
        """The text of a call that succeeds."""
        return text(await self.outcome(tool, given), is_error=False)

    async def refused(self, tool: str, **given: Any) -> str:
        """The text of a call that fails."""
        return text(await self.outcome(tool, given), is_error=True)

    async def until(self, command: str, expected: str) -> None:
        """Ask in a shell of its own until the answer is as expected; bounded by the deadline."""
        observer = Hands(self.sandboxes, self.session, "observer", self.epoch)
        async with asyncio.timeout(DEADLINE):
            while (await observer.outcome("bash", {"command": command})).content[0]["text"] != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def text(outcome: ToolOutcome, *, is_error: bool) -> str:
    assert outcome.is_error is is_error, outcome
    assert [block["type"] for block in outcome.content] == ["text"], outcome
    return outcome.content[0]["text"]


async def raises(kind: type[Exception], awaitable: Awaitable[object]) -> Exception:
    try:
        found = await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised; got {found}")


async def a_shell_keeps_directory_and_variables(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.bash("pwd") == "/workspace"
    await hands.bash("cd /tmp; x='it is kept'")
    assert await hands.bash('echo "$x in $PWD"') == "it is kept in /tmp"


async def each_thread_has_a_shell_of_its_own(sandboxes: Sandboxes, session: str) -> None:
    await Hands(sandboxes, session, "a").bash("cd /tmp; x=1")
    assert await Hands(sandboxes, session, "b").bash('echo "$PWD${x-}"') == "/workspace"


async def a_failing_command_is_an_error_with_its_output(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.refused("bash", command="echo out; echo err >&2; false") == "out\nerr"
    assert await hands.refused("bash", command="echo bye; exit 3") == "bye"
    assert await hands.bash("echo alive") == "alive"


async def bad_syntax_does_not_confuse_the_shell(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    for broken in ("echo (", "echo 'open", "cat <<EOF\nno end", "}", "if true"):
        await hands.outcome("bash", {"command": broken, "timeout_ms": 5000})
        assert await hands.bash("echo fine") == "fine"
    assert await hands.bash("printf '%s' \"it's\" 'a \"quote\"'; echo '\\'") == "it's" + 'a "quote"\\'


async def a_restart_forgets_variables(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("x=1; cd /tmp")
    assert await hands.use("bash", restart=True) == "bash session restarted"
    assert await hands.bash('echo "${x-none} $PWD"') == "none /workspace"


async def a_restart_ends_a_command_that_hangs(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    hung = asyncio.create_task(hands.outcome("bash", {"command": "touch started; sleep 1000"}))
    await hands.until("ls started", "started")
    assert await hands.use("bash", restart=True) == "bash session restarted"
    assert "restarted" in text(await hung, is_error=True)


async def a_command_that_takes_too_long_is_killed(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    said = await hands.refused("bash", command="echo before; sleep 1000", timeout_ms=300)
    assert said == "bash command timed out after 0.3s\nbefore"
    assert await hands.bash("pgrep sleep -a | grep -c 'sleep 1000' || true") == "0"
    assert await hands.bash("echo alive") == "alive"


async def a_background_process_does_not_hold_the_call(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.bash("sleep 1000 & echo started") == "started"
    assert await hands.bash("jobs -r | wc -l") == "1"


async def standard_input_is_empty(sandboxes: Sandboxes, session: str) -> None:
    assert await Hands(sandboxes, session).bash("cat; wc -c </dev/stdin") == "0"


async def output_is_cleaned_and_its_end_kept(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.bash(r"printf '\033[31mred\033[0m \033]0;title\007end\n\n'") == "red end"
    assert await hands.bash("true") == "(no output)"
    tail = await hands.bash("yes 123456789 | head -c 10000; yes abcdefghi | head -c 99000")
    assert tail.endswith("abcdefghi\nabcdefghi")


async def a_long_result_is_stored_and_previewed(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    shown = await hands.bash("seq 1 100000")
    assert len(shown) < 20_000
    assert "[output truncated]" in shown
    assert shown.endswith("100000")
    path = next(word for word in shown.split() if word.startswith("/mnt/"))
    assert await hands.bash(f"tail -n 1 {path}; echo; head -c 18 {path}") == "100000\n[output truncated]"


async def files_are_written_read_and_edited(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.use("write", file_path="deep/er/a.txt", content="é one\ntwo\nthree\n") == (
        "wrote 17 bytes to deep/er/a.txt"
    )
    assert await hands.use("read", file_path="/workspace/deep/er/a.txt") == "é one\ntwo\nthree\n"
    assert await hands.use("read", file_path="deep/er/a.txt", view_range=[2, 2]) == "two"
    assert await hands.use("read", file_path="deep/er/a.txt", view_range=[2, 0]) == "two\nthree\n"
    assert await hands.use("read", file_path="deep/er/a.txt", view_range=[3, 2]) == "(no output)"
    assert await hands.use("edit", file_path="deep/er/a.txt", old_string="two", new_string="2") == (
        "edited deep/er/a.txt (1 replacement(s))"
    )
    assert await hands.bash("cat deep/er/a.txt") == "é one\n2\nthree"
    assert "not found in" in await hands.refused("edit", file_path="deep/er/a.txt", old_string="x", new_string="")
    said = await hands.refused("edit", file_path="deep/er/a.txt", old_string="e", new_string="")
    assert "appears 3 times" in said
    assert "(3 replacement(s))" in await hands.use(
        "edit", file_path="deep/er/a.txt", old_string="e", new_string="E", replace_all=True
    )


async def what_is_not_a_readable_text_is_refused(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash(r"printf '\xff\xfe' > bin; mkfifo pipe; mkdir dir; head -c 300000 /dev/zero | tr '\0' a > big")
    assert "not valid UTF-8" in await hands.refused("read", file_path="bin")
    assert "not a regular file" in await hands.refused("read", file_path="pipe")
    assert "is a directory" in await hands.refused("read", file_path="dir")
    assert "not a regular file" in await hands.refused("read", file_path="/dev/zero")
    assert "view_range" in await hands.refused("read", file_path="big")
    assert "no such file" in await hands.refused("read", file_path="missing")
    assert "regular file" in await hands.refused("write", file_path="pipe", content="x")


async def images_and_documents_come_as_blocks(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("printf 'PNG' > a.PNG; printf '%%PDF' > b.pdf")
    image = await hands.outcome("read", {"file_path": "a.PNG"})
    data = base64.b64encode(b"PNG").decode()
    assert image.content == [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}]
    document = await hands.outcome("read", {"file_path": "b.pdf"})
    assert document.content[0]["type"] == "document"
    assert "view_range" in await hands.refused("read", file_path="a.PNG", view_range=[1, 2])


async def glob_lists_newest_first(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("mkdir -p d/e; touch -d '2020-01-01' d/old.py; touch d/e/new.py d/x.txt")
    assert await hands.use("glob", pattern="**/*.py") == "/workspace/d/e/new.py\n/workspace/d/old.py"
    assert await hands.use("glob", pattern="*.py", path="d") == "/workspace/d/old.py"
    assert await hands.use("glob", pattern="*.rs") == "no matches"
    assert "relative" in await hands.refused("glob", pattern="/etc/*")
    assert "`..`" in await hands.refused("glob", pattern="../*")


async def names_that_are_not_text_are_shown_as_text(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash(r"mkdir d; echo needle > $'d/\xff.txt'")
    for shown in (await hands.use("glob", pattern="d/*"), await hands.use("grep", pattern="needle")):
        assert shown.startswith("/workspace/d/")
        assert shown.encode()


async def grep_names_path_line_and_text(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("mkdir .git; echo needle > .git/no; printf 'a\\nneedle 1\\n' > f; printf 'needle\\0' > bin")
    assert await hands.use("grep", pattern="need.e") == "/workspace/f:2:needle 1"
    assert await hands.use("grep", pattern="^a$", path="f") == "/workspace/f:1:a"
    assert await hands.use("grep", pattern="absent") == "no matches"
    assert "invalid regex" in await hands.refused("grep", pattern="(")


async def bad_input_names_the_field_and_the_rule(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.refused("bash") == "bash: command is required, unless restart is true"
    assert "timeout_ms must be" in await hands.refused("bash", command="true", timeout_ms=0)
    assert "file_path is required" in await hands.refused("read")
    assert "view_range must be" in await hands.refused("read", file_path="x", view_range=[1])
    assert "unknown field `colour`" in await hands.refused("write", file_path="x", content="", colour="red")
    assert "content must be a string" in await hands.refused("write", file_path="x", content=1)
    assert "no tool of this name" in await hands.refused("paint")


async def a_repeated_id_gives_the_stored_outcome(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    given = {"command": "echo once >> log; cat log"}
    first = await hands.outcome("bash", given, id="sevt_same")
    assert await hands.outcome("bash", given, id="sevt_same") == first
    assert await hands.outcome("bash", given, id="sevt_same", resume=True) == first
    await sandboxes.stop(session)
    assert await hands.outcome("bash", given, id="sevt_same") == first
    assert await hands.bash("cat log") == "once"


async def a_call_that_runs_is_attached_to(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    given = {"command": "echo x >> log; while [ ! -e go ]; do sleep 0.01; done; cat log"}
    calls = [asyncio.create_task(hands.outcome("bash", given, id="sevt_one")) for _ in range(3)]
    await hands.until("cat log", "x")
    calls.append(asyncio.create_task(hands.outcome("bash", given, id="sevt_one", resume=True)))
    await Hands(sandboxes, session, "other").bash("touch go")
    assert [text(outcome, is_error=False) for outcome in await asyncio.gather(*calls)] == ["x"] * 4


async def a_cancelled_wait_leaves_the_call_running(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    given = {"command": "echo x >> log; while [ ! -e go ]; do sleep 0.01; done; cat log"}
    waiting = asyncio.create_task(hands.outcome("bash", given, id="sevt_left"))
    await hands.until("cat log", "x")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await Hands(sandboxes, session, "other").bash("touch go")
    assert text(await hands.outcome("bash", given, id="sevt_left", resume=True), is_error=False) == "x"


async def a_resumed_call_is_never_started(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await raises(CallLost, hands.outcome("bash", {"command": "touch ran"}, id="sevt_lost", resume=True))
    await hands.bash("touch other")
    await raises(CallLost, hands.outcome("bash", {"command": "touch ran"}, id="sevt_lost", resume=True))
    assert await hands.bash("ls") == "other"


async def what_a_newer_owner_was_told_is_lost_is_never_begun_by_an_older(sandboxes: Sandboxes, session: str) -> None:
    """Even where nothing had run before: an owner may freeze between a call's intent and its request."""
    old, new = Hands(sandboxes, session, epoch=4), Hands(sandboxes, session, epoch=5)
    await raises(CallLost, new.outcome("bash", {"command": "touch ran"}, id="sevt_frozen", resume=True))
    await raises(Fenced, old.outcome("bash", {"command": "touch ran"}, id="sevt_frozen"))
    assert await new.bash("ls") == "(no output)"


async def an_older_epoch_is_refused(sandboxes: Sandboxes, session: str) -> None:
    old, new = Hands(sandboxes, session, epoch=4), Hands(sandboxes, session, epoch=5)
    await old.bash("true")
    await new.bash("true")
    await raises(Fenced, old.outcome("bash", {"command": "touch ran"}))
    await raises(Fenced, sandboxes.interrupt(session, "sevt_x", epoch=4))
    await sandboxes.stop(session)
    await raises(Fenced, old.outcome("bash", {"command": "touch ran"}))
    assert await new.bash("ls") == "(no output)"


async def an_interrupted_call_ends_as_an_error(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await sandboxes.interrupt(session, "sevt_unknown", epoch=1)
    given = {"command": "echo begun; touch started; sleep 1000"}
    running = asyncio.create_task(hands.outcome("bash", given, id="sevt_int"))
    queued = asyncio.create_task(hands.outcome("bash", {"command": "touch never"}, id="sevt_queued"))
    await hands.until("ls started", "started")
    await sandboxes.interrupt(session, "sevt_queued", epoch=1)
    await sandboxes.interrupt(session, "sevt_int", epoch=1)
    said = text(await running, is_error=True)
    assert "interrupted" in said
    assert said.endswith("begun")
    assert "interrupted" in text(await queued, is_error=True)
    assert await hands.bash("ls") == "started"
    assert (await hands.outcome("bash", given, id="sevt_int", resume=True)).is_error


async def a_stopped_sandbox_keeps_its_workspace(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("echo kept > f; echo out > /mnt/session/outputs/o; echo gone > /tmp/g; sleep 1000 &")
    await sandboxes.stop(session)
    assert await hands.bash("cat f /mnt/session/outputs/o; ls /tmp; pgrep sleep | wc -l") == "kept\nout\n1"


async def stopping_what_is_not_there_is_fine(sandboxes: Sandboxes, session: str) -> None:
    await sandboxes.stop(session)
    await sandboxes.delete(session)


async def deleting_erases_everything(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.outcome("bash", {"command": "mkdir -m 000 closed; mkdir -p a/b; touch a/b/c"}, id="sevt_before")
    await sandboxes.delete(session)
    await raises(CallLost, hands.outcome("bash", {"command": "true"}, id="sevt_before", resume=True))
    assert await hands.bash("ls -A") == "(no output)"


async def sessions_do_not_see_each_other(sandboxes: Sandboxes, session: str) -> None:
    names = [f"{session}{number}" for number in range(4)]
    commands = [Hands(sandboxes, name).bash(f"echo {name} > mine; sleep 0.05; cat *") for name in names]
    assert await asyncio.gather(*commands) == names
    for name in names:
        await sandboxes.delete(name)


async def calls_run_side_by_side(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    waiting = asyncio.create_task(hands.bash("while [ ! -e go ]; do sleep 0.01; done; echo went"))
    await Hands(sandboxes, session, "b").use("write", file_path="go", content="")
    assert await waiting == "went"


async def read_outputs(sandboxes: Sandboxes, session: str) -> dict[str, bytes]:
    found = (await sandboxes.outputs(session, epoch=1)).files
    return {one.path: b"".join([piece async for piece in sandboxes.read_output(session, one)]) for one in found}


async def outputs_are_listed_and_read_also_without_a_sandbox(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash(
        "cd /mnt/session/outputs; mkdir -p a/b; echo one > a/b/c; head -c 2500000 /dev/zero > big; : > empty"
    )
    expected = {"a/b/c": b"one\n", "big": bytes(2_500_000), "empty": b""}
    assert await read_outputs(sandboxes, session) == expected
    await sandboxes.stop(session)
    assert await read_outputs(sandboxes, session) == expected
    await hands.bash("true")
    await Hands(sandboxes, session, epoch=2).bash("true")
    await raises(Fenced, sandboxes.outputs(session, epoch=1))


async def outputs_are_regular_files_as_they_were_listed(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("echo secret > secret; cd /mnt/session/outputs; mkdir d; echo one > d/a; echo two > b")
    await hands.bash("cd /mnt/session/outputs; mkfifo pipe; ln -s /workspace/secret link; ln -s /workspace dir")
    inside, file = (await sandboxes.outputs(session, epoch=1)).files, Output("dir/secret", 7, "0")
    assert [one.path for one in inside] == ["b", "d/a"]
    await hands.bash("cd /mnt/session/outputs; echo owt > b; rm -r d; ln -s /workspace d; cp ~/secret ~/a")
    for one in (*inside, file, Output("../workspace/secret", 7, "0"), Output("/etc/passwd", 7, "0")):
        await raises(OutputChanged, anext(aiter(sandboxes.read_output(session, one))))


CALLS: tuple[Check, ...] = (
    a_shell_keeps_directory_and_variables,
    each_thread_has_a_shell_of_its_own,
    a_failing_command_is_an_error_with_its_output,
    bad_syntax_does_not_confuse_the_shell,
    a_restart_forgets_variables,
    a_restart_ends_a_command_that_hangs,
    a_command_that_takes_too_long_is_killed,
    a_background_process_does_not_hold_the_call,
    standard_input_is_empty,
    output_is_cleaned_and_its_end_kept,
    a_long_result_is_stored_and_previewed,
    files_are_written_read_and_edited,
    what_is_not_a_readable_text_is_refused,
    images_and_documents_come_as_blocks,
    glob_lists_newest_first,
    names_that_are_not_text_are_shown_as_text,
    grep_names_path_line_and_text,
    bad_input_names_the_field_and_the_rule,
    a_repeated_id_gives_the_stored_outcome,
    a_call_that_runs_is_attached_to,
    a_cancelled_wait_leaves_the_call_running,
    a_resumed_call_is_never_started,
    what_a_newer_owner_was_told_is_lost_is_never_begun_by_an_older,
    an_older_epoch_is_refused,
    an_interrupted_call_ends_as_an_error,
    a_stopped_sandbox_keeps_its_workspace,
    stopping_what_is_not_there_is_fine,
    deleting_erases_everything,
    sessions_do_not_see_each_other,
    calls_run_side_by_side,
    outputs_are_listed_and_read_also_without_a_sandbox,
    outputs_are_regular_files_as_they_were_listed,
)
