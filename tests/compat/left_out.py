"""Which of CPython's tests of asyncio are not run on loopx, each with its reason.

Owns the table of patterns over "module.Class.test".  That loopx fails a test is no reason to leave
it out: the tests here would say nothing about a loop, or look inside asyncio's.
"""

from __future__ import annotations

import sys

MADE_UP_CLOCK = "runs on the tests' own loop, whose clock they move by hand"
NO_LOOP = "no loop takes part"
ABOUT_ASYNCIO = "is about a class of asyncio's own, not about what a loop does"
REPLACES = "replaces a module that asyncio's loop uses, so that any other loop goes unchanged"
REPLACES_METHODS = "replaces methods of one transport object, which a native type has no room for"
INSIDE = "calls, sets or looks at the insides of asyncio's selector loop or its transports"
OWN_LOOP = "runs on a loop of the tests' own"
SAME_AGAIN = "the same tests, on another selector or child watcher; one set of them is run"

LEFT_OUT = {
    "events.AbstractEventLoopTests.test_not_implemented": NO_LOOP,
    "events.HandleTests.test_callback_with_exception": ABOUT_ASYNCIO,
    "events.HandleTests.test_coroutine_like_object_debug_formatting": ABOUT_ASYNCIO,
    "events.HandleTests.test_handle": ABOUT_ASYNCIO,
    "events.HandleTests.test_handle_repr*": ABOUT_ASYNCIO,
    "events.HandleTests.test_handle_weakref": ABOUT_ASYNCIO,
    "events.PolicyTests.test_event_loop_policy": NO_LOOP,
    "events.PolicyTests.test_get_event_loop*": ABOUT_ASYNCIO,
    "events.PolicyTests.test_set_event_loop_policy": NO_LOOP,
    "events.PolicyTests.test_*_deprecation": NO_LOOP,
    "events.TestAbstractServer.test_[cg]*": NO_LOOP,
    "events.TimerTests.*": ABOUT_ASYNCIO,
    "events.PollEventLoopTests.*": SAME_AGAIN,
    "events.SelectEventLoopTests.*": SAME_AGAIN,
    "events.*.test_create_server_multiple_hosts_ipv?": REPLACES,
    "events.*.test_timeout_rounding": INSIDE,
    "events.*.test_unclosed_pipe_transport": INSIDE,
    "futures.*.test_evil_call_soon_list_mutation": OWN_LOOP,
    "futures.*.test_use_after_free_on_fut_*_with_evil__getattribute__": OWN_LOOP,
    "runners.RunTests.test_asyncio_run_debug": REPLACES,
    "runners.RunnerTests.test_custom_factory": NO_LOOP,
    "sendfile.PollEventLoopTests.*": SAME_AGAIN,
    "sendfile.SelectEventLoopTests.*": SAME_AGAIN,
    "server_context.AsyncioEventLoopTests.test_gh140947": INSIDE,
    "sock_lowlevel.PollEventLoopTests.*": SAME_AGAIN,
    "sock_lowlevel.SelectEventLoopTests.*": SAME_AGAIN,
    "ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket": INSIDE,
    "sslproto.SslProtoHandshakeTests.test_connection_lost_when_busy": INSIDE,
    "subprocess.GenericWatcherTests.*": ABOUT_ASYNCIO,
    "subprocess.MultiLoopChildWatcherTests.*": ABOUT_ASYNCIO,
    "subprocess.*.test_pause_reading": REPLACES_METHODS,
    "subprocess.SubprocessFastWatcherTests.*": SAME_AGAIN,
    "subprocess.SubprocessPidfdWatcherTests.*": SAME_AGAIN,
    "subprocess.SubprocessSafeWatcherTests.*": SAME_AGAIN,
    "subprocess.*.test_pid_not_reaped_before_exit_published": INSIDE,
    "subprocess.*.test_watcher_implementation": INSIDE,
    "tasks.CoroutineGatherTests.test_issue46672": REPLACES,
    "tasks.*IntrospectionTests.*": NO_LOOP,
    "tasks.GenericTaskTests.*": NO_LOOP,
    "unix_events.*ChildWatcherTests.*": ABOUT_ASYNCIO,
    "unix_events.PolicyTests.*": ABOUT_ASYNCIO,
    "unix_events.SelectorEventLoopSignalTests.test_check_signal": INSIDE,
    "unix_events.SelectorEventLoopSignalTests.test_handle_signal_*": INSIDE,
    "unix_events.SelectorEventLoopSignalTests.test_add_signal_handler": REPLACES,
    "unix_events.SelectorEventLoopSignalTests.test_add_signal_handler_[is]*": REPLACES,
    "unix_events.SelectorEventLoopSignalTests.test_close*": REPLACES,
    "unix_events.SelectorEventLoopSignalTests.test_remove_signal_handler*": REPLACES,
    "unix_events.SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error": REPLACES,
    "unix_events.*.test_sock_sendfile_not_available": REPLACES,
    "unix_events.*.test_sock_sendfile_cancel?": INSIDE,
    "unix_events.*.test_sock_sendfile_blocking_error": INSIDE,
    "unix_events.*.test_sock_sendfile_exception": INSIDE,
    "unix_events.*.test_sock_sendfile_os_error_*": INSIDE,
    "unix_events.Unix*PipeTransportTests.*": INSIDE,
}
LEFT_OUT |= {
    f"tasks.*Task*_*Tests.{test}": MADE_UP_CLOCK
    for test in (
        "test_as_completed",
        "test_as_completed_concurrent",
        "test_as_completed_reverse_wait",
        "test_as_completed_with_timeout",
        "test_as_completed_with_unused_timeout",
        "test_baseexception_during_cancel",
        "test_cancel",
        "test_sleep",
        "test_sleep_cancel",
        "test_sleep_when_delay_is_nan",
        "test_stop_while_run_in_complete",
        "test_task_cancel_sleeping_task",
        "test_wait",
        "test_wait_concurrent_complete",
        "test_wait_first_completed",
        "test_wait_first_exception",
        "test_wait_first_exception_in_wait",
        "test_wait_with_exception",
        "test_wait_with_iterator_of_tasks",
        "test_wait_with_timeout",
    )
}
if sys.version_info < (3, 13):
    # They count connections that are not there; the same tests of 3.13 make real ones.
    LEFT_OUT["server.TestServer2.test_wait_closed_*"] = INSIDE

# Patterns that only releases after 3.13.0 have tests for.
NEWER = {
    "events.PolicyTests.test_*_deprecation",
    "futures.*.test_evil_call_soon_list_mutation",
    "futures.*.test_use_after_free_on_fut_*_with_evil__getattribute__",
    "server_context.AsyncioEventLoopTests.test_gh140947",
    "ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",
    "sslproto.SslProtoHandshakeTests.test_connection_lost_when_busy",
    "subprocess.*.test_pid_not_reaped_before_exit_published",
    "subprocess.*.test_watcher_implementation",
}

# Their loop runs in a child process, where nobody counts it.
IN_A_CHILD = "unix_events.TestFork.*"

# Until gh-119710 it gave the child a pipe, waited for the child, and closed the loop: by then the
# pipe has closed on asyncio of those releases, which waits for that as well, and not on ours.
LEAVES_A_PIPE = "subprocess.*.test_kill_issue43884"
