"""The `demo` script: writes a small program with a mistake, tests it, reads the failure, mends it, reports.

It decides by what its tools really answered: a surprise is said, not talked over.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.models.scripted.history import Call, rounds
from outrider.models.scripted.script import Request, Text, Thinking, ToolUse, Turn

WORKSPACE = "/workspace"
REPORT = "/mnt/session/outputs/REPORT.md"
TOOLS = ("bash", "write", "read", "edit")
CHUNK = 12
PROBE = "command -v python3 || command -v sh"


@dataclass(frozen=True, slots=True)
class Project:
    """What is written, how it is tested, and the one line that is wrong at first."""

    language: str
    source: str
    code: str
    test: str
    test_code: str
    command: str
    wrong: str
    right: str
    why: str


PYTHON = Project(
    language="Python",
    source=f"{WORKSPACE}/tally/__init__.py",
    code='''"""Small statistics over lists of numbers."""


def mean(values):
    return sum(values) / len(values)


def median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
''',
    test=f"{WORKSPACE}/test_tally.py",
    test_code="""import unittest

from tally import mean, median


class TallyTest(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1, 2, 6]), 3)

    def test_median_of_an_odd_count(self):
        self.assertEqual(median([9, 1, 5]), 5)

    def test_median_of_an_even_count(self):
        self.assertEqual(median([4, 1, 3, 2]), 2.5)


if __name__ == "__main__":
    unittest.main()
""",
    command=f"cd {WORKSPACE} && python3 -m unittest -v test_tally 2>&1; echo exit=$?",
    wrong="    return ordered[len(ordered) // 2]\n",
    right=(
        "    middle = len(ordered) // 2\n"
        "    if len(ordered) % 2:\n"
        "        return ordered[middle]\n"
        "    return (ordered[middle - 1] + ordered[middle]) / 2\n"
    ),
    why="With an even count the median is the mean of the two middle values; my version took the upper one.",
)

SHELL = Project(
    language="shell",
    source=f"{WORKSPACE}/tally/tally.sh",
    code="""# Small sums over words.

largest() {
    best=0
    for value in "$@"; do
        if [ "$value" -gt "$best" ]; then best=$value; fi
    done
    echo "$best"
}
""",
    test=f"{WORKSPACE}/test_tally.sh",
    test_code=""". ./tally/tally.sh
failed=0
check() {
    if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAILED: $1: expected $3, got $2"; failed=1; fi
}
check "largest of three" "$(largest 3 9 4)" 9
check "largest of negative numbers" "$(largest -7 -2 -5)" -2
exit $failed
""",
    command=f"cd {WORKSPACE} && sh test_tally.sh 2>&1; echo exit=$?",
    wrong="    best=0\n",
    right="    best=$1\n",
    why="The search began at 0, so no negative number could ever win; it has to begin at the first value.",
)


def demo(request: Request) -> Turn:
    """The next step, from the tool rounds since the user last spoke."""
    missing = [name for name in TOOLS if name not in request.tools]
    if missing:
        return _say(f"This demonstration needs the tools {', '.join(TOOLS)}; this agent lacks {', '.join(missing)}.")
    done = rounds(request)
    if not done:
        return _begin() if request.replies == 0 else _say(_after(request))
    broken = next((call for call in done[-1] if call.failed and not _is_test(call)), None)
    if broken is not None:
        return _say(f"The `{broken.name}` tool failed, so I stop here. It said:\n\n{_quote(broken.text)}")
    return _next(done)


def _next(done: list[list[Call]]) -> Turn:
    last = done[-1][0]
    project = PYTHON if "python3" in done[0][0].text else SHELL
    edited = any(call.name == "edit" for calls in done for call in calls)
    if len(done) == 1:
        return _write(project)
    if _is_test(last):
        return _judge(project, last, edited=edited)
    if last.name == "read":
        return _mend(project, last)
    if last.input.get("file_path") == REPORT:
        return _finish(project, done)
    return _test(project, edited=edited)


def _begin() -> Turn:
    thought = "I want to show real work: code, a failing test, a fix. First I look at what this sandbox can run."
    return Turn(
        Thinking(thought),
        "I'll write a small package with a test, run it, and mend what is wrong. First: what can run here?",
        ToolUse("bash", {"command": PROBE}),
        chunk=CHUNK,
    )


def _write(project: Project) -> Turn:
    return Turn(
        f"I'll write it in {project.language}: the package and its test.",
        ToolUse("write", {"file_path": project.source, "content": project.code}),
        ToolUse("write", {"file_path": project.test, "content": project.test_code}),
        chunk=CHUNK,
    )


def _test(project: Project, *, edited: bool) -> Turn:
    text = "The fix is in. I run the test again." if edited else "Both files are there. Now the test."
    return Turn(text, ToolUse("bash", {"command": project.command}), chunk=CHUNK)


def _judge(project: Project, test: Call, *, edited: bool) -> Turn:
    passed = "exit=0" in test.text
    if passed:
        text = "The test passes now." if edited else "I had expected this to fail, but the test passes as it is."
        return _report(project, test, text, edited=edited)
    if edited:
        return _say(f"The test still fails after my fix, so I won't claim success. Its output:\n\n{_quote(test.text)}")
    if "FAIL" not in test.text:
        return _say(f"The test could not be run, so I stop here. Its output:\n\n{_quote(test.text)}")
    return Turn(
        "One test fails. I read the code again before I change anything.",
        ToolUse("read", {"file_path": project.source}),
        chunk=CHUNK,
    )


def _mend(project: Project, read: Call) -> Turn:
    line = project.wrong.strip()
    if line not in read.text:
        return _say(f"The file does not hold the line I meant to mend (`{line}`), so I leave it as it is.")
    return Turn(
        Thinking(f"The suspect is `{line}`. {project.why}"),
        project.why,
        ToolUse("edit", {"file_path": project.source, "old_string": project.wrong, "new_string": project.right}),
        chunk=CHUNK,
    )


def _report(project: Project, test: Call, text: str, *, edited: bool) -> Turn:
    found = (
        f"One test failed at first. {project.why}"
        if edited
        else "The test passed at the first run; nothing was mended."
    )
    report = (
        f"# Report\n\nA small {project.language} package, `{project.source}`, with a test, `{project.test}`.\n\n"
        f"## What was found\n\n{found}\n\n## The last test run\n\n{_quote(test.text)}\n"
    )
    return Turn(f"{text} I write the report.", ToolUse("write", {"file_path": REPORT, "content": report}), chunk=CHUNK)


def _finish(project: Project, done: list[list[Call]]) -> Turn:
    edited = any(call.name == "edit" for calls in done for call in calls)
    what = "a failing test, its cause and the fix" if edited else "a test that passed at once"
    calls = sum(len(one) for one in done)
    return _say(
        f"Done: a {project.language} package, {what}, in {calls} tool calls. The report is in {REPORT}."
        " Every step of this is in the session's log."
    )


def _after(request: Request) -> str:
    return (
        f"You said: {request.last_text()!r}. I am a script and my demonstration is over; start a new session to see it"
        " again, or give the agent a real model."
    )


def _is_test(call: Call) -> bool:
    return call.name == "bash" and call.input.get("command") != PROBE


def _say(text: str) -> Turn:
    return Turn(Text(text), chunk=CHUNK)


def _quote(text: str) -> str:
    return f"```\n{text.strip()}\n```"
