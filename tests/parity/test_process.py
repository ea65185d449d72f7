"""subprocess_exec and subprocess_shell: what runs, how it ends, and what is refused.

Runs on asyncio and on loopx, on the main thread; real processes throughout.
"""

import asyncio
import os
import signal
import stat
import subprocess

import pytest

from tests.support.net import run
from tests.support.processes import BLOCKED, PYTHON, ProcessRecorder, no_children

__all__ = ["no_children"]

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT


async def output_of(*args, **options):
    """(exit status, standard output) of a program."""
    options = {"stdout": PIPE, **options}
    process = await asyncio.create_subprocess_exec(*args, **options)
    output, _ = await process.communicate()
    return process.returncode, output


def shell(loop, command, **options):
    return run(loop, output_of("sh", "-c", command, **options))


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_exit_status_of_a_program(loop, status):
    assert shell(loop, f"exit {status}") == (status, b"")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_the_signal_that_ended_a_program(loop, number):
    assert shell(loop, f"kill -{number.value} $$") == (-number, b"")


def test_a_command_of_the_shell(loop):
    async def main():
        process = await asyncio.create_subprocess_shell("echo $((6 * 7)); exit 3", stdout=PIPE)
        output, errors = await process.communicate()
        return output, errors, process.returncode

    assert run(loop, main()) == (b"42\n", None, 3)


def test_input_and_both_outputs(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "cat; echo error >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        return await process.communicate(b"some data")

    assert run(loop, main()) == (b"some data", b"error\n")


def test_stderr_goes_where_stdout_goes(loop):
    assert shell(loop, "echo one; echo two >&2", stderr=STDOUT) == (0, b"one\ntwo\n")


def test_the_transport_and_what_it_knows(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(ProcessRecorder, *BLOCKED, stderr=None)
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert transport.get_protocol() is protocol
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen) and popen.pid == transport.get_pid()
        assert transport.get_returncode() is None and "running" in repr(transport)
        assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pipe_transport(2) is None
        transport.close()
        assert transport.is_closing()
        transport.close()
        await protocol.lost
        assert transport.get_returncode() == popen.returncode == -signal.SIGKILL
        assert f"pid={popen.pid} returncode=-9" in repr(transport)

    run(loop, main())


# ---- standard streams --------------------------------------------------------------------


def test_stdio_are_pipes_and_can_be_opened_again(loop):
    """A socket in the place of a pipe could not be opened by /dev/stdin."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "cat /dev/stdin; echo >/dev/stderr", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        for number in range(3):
            file = process._transport.get_pipe_transport(number).get_extra_info("pipe")
            assert stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        return await process.communicate(b"through /dev/stdin")

    assert run(loop, main()) == (b"through /dev/stdin", b"\n")


def test_stdin_from_devnull(loop):
    assert shell(loop, "cat; echo end", stdin=DEVNULL) == (0, b"end\n")


def test_stdout_to_devnull(loop):
    assert shell(loop, "echo lost", stdout=DEVNULL) == (0, None)


def test_a_file_as_stdin_and_one_as_stdout(loop, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"contents")
    with source.open("rb") as stdin, target.open("wb") as stdout:
        assert shell(loop, "cat", stdin=stdin, stdout=stdout) == (0, None)
    assert target.read_bytes() == b"contents"


def test_a_descriptor_as_stdin(loop):
    reader, writer = os.pipe()
    os.write(writer, b"through a pipe of ours")
    os.close(writer)
    try:
        assert shell(loop, "cat", stdin=reader) == (0, b"through a pipe of ours")
    finally:
        os.close(reader)


def test_a_large_pipe(loop):
    code = "import fcntl; print(fcntl.fcntl(1, fcntl.F_GETPIPE_SZ))"
    assert run(loop, output_of(*PYTHON, code, pipesize=1 << 18)) == (0, b"262144\n")


# ---- Popen's options ---------------------------------------------------------------------


def test_folder_and_environment(loop, tmp_path):
    status, output = shell(
        loop, "pwd; echo $COLOUR", cwd=tmp_path, env={"COLOUR": "green", "PATH": os.environ["PATH"]}
    )
    assert (status, output.decode().split()) == (0, [str(tmp_path.resolve()), "green"])


def test_pass_fds(loop):
    """Only the descriptors named reach the child."""
    reader, writer = os.pipe()
    kept, _ = other = os.pipe()
    try:
        code = f"import os; os.write({writer}, b'passed'); print(*os.listdir('/proc/self/fd'))"
        status, output = run(loop, output_of(*PYTHON, code, pass_fds=[writer]))
        assert status == 0 and os.read(reader, 100) == b"passed"
        numbers = {int(word) for word in output.split()}
        assert writer in numbers and kept not in numbers
    finally:
        for number in (reader, writer, *other):
            os.close(number)


IDS = "import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"


def ids(loop, **options):
    status, output = run(loop, output_of(*PYTHON, IDS, **options))
    assert status == 0
    return [int(word) for word in output.split()]


def test_a_process_group_of_its_own(loop):
    pid, group, session = ids(loop, process_group=0)
    assert group == pid and session == os.getsid(0)


def test_a_session_of_its_own(loop):
    pid, group, session = ids(loop, start_new_session=True)
    assert pid == group == session


def test_umask(loop):
    assert shell(loop, "umask", umask=0o027) == (0, b"0027\n")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_preexec_fn_runs_in_the_child(loop):
    assert shell(loop, "echo $PPID", preexec_fn=lambda: os.write(1, b"first ")) == (
        0,
        b"first %d\n" % os.getpid(),
    )


def test_the_program_may_be_a_path_and_the_first_argument_another(loop, tmp_path):
    link = tmp_path / "sh"
    link.symlink_to("/bin/sh")
    assert run(loop, output_of(link, "-c", "exit 4"))[0] == 4
    assert run(loop, output_of("name", "-c", "echo $0", executable="/bin/sh"))[1] == b"name\n"


# ---- what is refused ---------------------------------------------------------------------

TEXT = [
    ({"universal_newlines": True}, "universal_newlines must be False"),
    ({"text": True}, "text must be False"),
    ({"encoding": "utf-8"}, "encoding must be None"),
    ({"errors": "strict"}, "errors must be None"),
    ({"bufsize": 4096}, "bufsize must be 0"),
]


@pytest.mark.parametrize(("options", "message"), [*TEXT, ({"shell": True}, "shell must be False")])
def test_exec_refuses(loop, options, message):
    with pytest.raises(ValueError, match=message):
        run(loop, loop.subprocess_exec(ProcessRecorder, "true", **options))


@pytest.mark.parametrize(("options", "message"), [*TEXT, ({"shell": False}, "shell must be True")])
def test_shell_refuses(loop, options, message):
    with pytest.raises(ValueError, match=message):
        run(loop, loop.subprocess_shell(ProcessRecorder, "true", **options))


def test_a_command_of_the_shell_is_one_string(loop):
    with pytest.raises(ValueError, match="cmd must be a string"):
        run(loop, loop.subprocess_shell(ProcessRecorder, ["true"]))


def test_an_unknown_option_is_a_type_error(loop):
    with pytest.raises(TypeError):
        run(loop, loop.subprocess_exec(ProcessRecorder, "true", colour="green"))


def test_a_protocol_that_cannot_be_made_starts_nothing(loop, tmp_path):
    def factory():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(loop, loop.subprocess_exec(factory, "touch", tmp_path / "touched"))
    assert list(tmp_path.iterdir()) == []


def test_debug_mode_tells_what_is_started_and_no_arguments(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level("DEBUG", "asyncio"):
        run(loop, output_of("echo", "secret", stdin=DEVNULL, stderr=STDOUT))
    lines = [line for line in caplog.messages if "execute program" in line]
    assert lines[0] == f"execute program 'echo' stdin={DEVNULL} stdout=stderr=<pipe>"
    assert "secret" not in caplog.text
    assert any("exited with return code 0" in line for line in caplog.messages)
