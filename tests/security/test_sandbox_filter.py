"""The system call filter says what it should on both machines, run by a small interpreter of its BPF."""

from __future__ import annotations

import errno

import pytest

from outrider.sandbox import seccomp

LONGEST_JUMP = 255
MACHINES = list(seccomp.ARCHITECTURES)
FIRST, SECOND = 16, 24


def verdict(machine: str, number: int, *, architecture: int | None = None, **arguments: int) -> int:
    """What the filter returns for a call; `first` and `second` are its arguments."""
    data = {
        0: number,
        4: seccomp.ARCHITECTURES[machine] if architecture is None else architecture,
        FIRST: arguments.get("first", 0) & 0xFFFFFFFF,
        SECOND: arguments.get("second", 0) & 0xFFFFFFFF,
    }
    program = seccomp.steps(machine)
    position, accumulator = 0, 0
    while True:
        step = program[position]
        position += 1
        if step.code == 0x20:
            accumulator = data[step.value]
        elif step.code == 0x06:
            return step.value
        else:
            tests = {0x15: accumulator == step.value, 0x35: accumulator >= step.value, 0x45: accumulator & step.value}
            position += step.then if tests[step.code] else step.otherwise


@pytest.mark.parametrize("machine", MACHINES)
def test_every_listed_call_is_refused(machine: str) -> None:
    column = MACHINES.index(machine)
    for name, numbers in seccomp.REFUSED.items():
        number = numbers[column]
        if number is not None:
            assert verdict(machine, number) == 0x50000 | errno.EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_calls_are_allowed(machine: str) -> None:
    refused = {numbers[MACHINES.index(machine)] for numbers in seccomp.REFUSED.values()} | {435}
    for number in set(range(470)) - refused - {seccomp.SOCKET[machine]}:
        assert verdict(machine, number) == seccomp.ALLOW, number


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_may_fork_but_make_no_namespace(machine: str) -> None:
    clone = seccomp.CLONE[machine]
    assert verdict(machine, clone, first=17) == seccomp.ALLOW
    assert verdict(machine, clone, first=0x003D0F00) == seccomp.ALLOW  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, first=flag | 17) == seccomp.REFUSE, hex(flag)
    assert verdict(machine, seccomp.CLONE3[machine]) == seccomp.NOT_THERE


@pytest.mark.parametrize("machine", MACHINES)
def test_only_ordinary_socket_families_exist(machine: str) -> None:
    allowed = {n for n in range(64) if verdict(machine, seccomp.SOCKET[machine], first=n) == seccomp.ALLOW}
    assert allowed == {1, 2, 10, 16}
    assert verdict(machine, seccomp.SOCKET[machine], first=(1 << 32) | 17) == seccomp.NO_FAMILY


@pytest.mark.parametrize("machine", MACHINES)
def test_terminal_input_cannot_be_forged(machine: str) -> None:
    ioctl = seccomp.IOCTL[machine]
    assert verdict(machine, ioctl, second=0x5412) == seccomp.REFUSE
    assert verdict(machine, ioctl, second=0xFFFFFFFF00005412) == seccomp.REFUSE  # the kernel looks at 32 bits
    assert verdict(machine, ioctl, second=0x5401) == seccomp.ALLOW


def test_other_architectures_have_no_way_in() -> None:
    assert verdict("x86_64", 1, architecture=0x40000003) == seccomp.KILL_PROCESS
    assert verdict("aarch64", 1, architecture=0x40000028) == seccomp.KILL_PROCESS
    assert verdict("x86_64", seccomp.X32_BIT | 1) == seccomp.REFUSE


def test_tracing_is_a_switch() -> None:
    strict, open_to_tracing = (len(seccomp.steps("x86_64", allow_tracing=flag)) for flag in (False, True))
    assert strict - open_to_tracing == 2 * len(seccomp.TRACING)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_encoding_is_what_the_kernel_takes(machine: str) -> None:
    steps = seccomp.steps(machine)
    assert len(steps) <= 4096
    assert all(max(step.then, step.otherwise) <= LONGEST_JUMP for step in steps)
    assert seccomp.program(machine)[:8] == bytes([0x20, 0, 0, 0, 4, 0, 0, 0])
    assert len(seccomp.program(machine)) == 8 * len(steps)
