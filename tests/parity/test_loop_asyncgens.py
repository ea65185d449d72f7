"""Async generators: the loop's hooks, shutdown_asyncgens, generators that were dropped.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import gc
import sys

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns


async def numbers(log, name="gen"):
    try:
        for number in range(100):
            yield number
    finally:
        await asyncio.sleep(0)
        log.append(f"{name} closed")


def test_shutdown_closes_what_is_open(loop):
    log = []

    async def main():
        generators = [numbers(log, f"gen {index}") for index in range(3)]
        for generator in generators:
            await generator.__anext__()
        return generators

    generators = loop.run_until_complete(main())
    assert log == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(log) == ["gen 0 closed", "gen 1 closed", "gen 2 closed"]
    assert len(generators) == 3


def test_shutdown_without_generators(loop):
    assert loop.run_until_complete(loop.shutdown_asyncgens()) is None
    assert loop.run_until_complete(loop.shutdown_asyncgens()) is None


def test_a_finished_generator_is_left_alone(loop):
    log = []

    async def main():
        return [number async for number in numbers(log)]

    assert loop.run_until_complete(main()) == list(range(100))
    assert log == ["gen closed"]
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["gen closed"]


def test_a_dropped_generator_is_closed_by_the_loop(loop):
    log = []

    async def main():
        generator = numbers(log)
        await generator.__anext__()
        del generator
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert log == ["gen closed"]


def test_a_generator_dropped_between_runs_is_closed_in_the_next(loop):
    log = []
    kept = []

    async def main():
        kept.append(numbers(log))
        await kept[0].__anext__()

    loop.run_until_complete(main())
    kept.clear()
    gc.collect()
    run_turns(loop, 5)
    assert log == ["gen closed"]


def test_an_error_while_closing_is_reported(loop):
    recorder = ExceptionRecorder(loop)

    async def fails():
        try:
            yield 1
        finally:
            raise ZeroDivisionError("while closing")

    async def main():
        generator = fails()
        await generator.__anext__()
        return generator

    generator = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = recorder.contexts
    assert "an error occurred during closing of asynchronous generator" in context["message"]
    assert context["asyncgen"] is generator
    assert isinstance(context["exception"], ZeroDivisionError)


def test_a_generator_started_after_the_shutdown_warns(loop):
    log = []

    async def main():
        await loop.shutdown_asyncgens()
        generator = numbers(log)
        with pytest.warns(ResourceWarning, match="after loop.shutdown_asyncgens"):
            await generator.__anext__()
        await generator.aclose()

    loop.run_until_complete(main())
    assert log == ["gen closed"]


def test_the_hooks_are_set_while_running_and_restored(loop):
    before = sys.get_asyncgen_hooks()
    seen = []
    loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
    run_once(loop)
    assert sys.get_asyncgen_hooks() == before
    assert seen[0].firstiter is not None and seen[0].finalizer is not None


def test_hooks_of_somebody_else_come_back(loop):
    def first(generator):
        raise AssertionError("not while the loop runs")

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=first, finalizer=None)
    try:
        log = []

        async def main():
            async for _ in numbers(log):
                pass

        loop.run_until_complete(main())
        assert sys.get_asyncgen_hooks().firstiter is first
        assert sys.get_asyncgen_hooks().finalizer is None
    finally:
        sys.set_asyncgen_hooks(*before)


def test_the_hooks_are_restored_after_an_interrupt(loop):
    def interrupt():
        raise KeyboardInterrupt

    before = sys.get_asyncgen_hooks()
    loop.call_soon(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert sys.get_asyncgen_hooks() == before


def test_breaking_out_of_async_for(loop):
    log = []

    async def main():
        async for number in numbers(log):
            if number == 3:
                break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["gen closed"]
