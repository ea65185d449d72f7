"""Methods of native classes, called through their class with what is not of it.

Owns what loopx/sched/native_methods.pxi promises: TypeError, never a read of foreign memory.
"""

import pytest

import loopx
from loopx import _core
from tests.support.children import output_of

FOREIGN = (object(), 5, None, _core.Scheduler)


def native_methods():
    for native in vars(_core).values():
        if isinstance(native, type) and native.__module__ == _core.__name__:
            for name, method in vars(native).items():
                if type(method).__name__ == "cython_function_or_method":
                    yield pytest.param(method, id=f"{native.__name__}.{name}")


@pytest.mark.parametrize("method", list(native_methods()))
def test_a_foreign_self_is_refused(method):
    for foreign in FOREIGN:
        for count in range(5):
            with pytest.raises(TypeError):
                method(foreign, *[print] * count)
    with pytest.raises(TypeError):
        method()


def test_an_object_that_was_never_made_is_no_danger():
    """As __new__ leaves it: an error is all the same, a crash is not."""
    assert output_of("""
        from loopx import _core
        tried = 0
        for native in list(vars(_core).values()):
            if isinstance(native, type) and native.__module__ == _core.__name__:
                for name in dir(native):
                    waits = name == "work"       # until end(), as it should
                    for count in range(4 * (not name.startswith("__") and not waits)):
                        tried += 1
                        try:
                            result = getattr(native.__new__(native), name)(*[print] * count)
                            getattr(result, "close", int)()
                        except Exception:
                            pass
        print(tried > 500)
    """) == ["True"]


def test_what_is_refused_is_named():
    with pytest.raises(TypeError, match="'cancel' for 'loopx._core.Handle' objects.* 'int'"):
        _core.Handle.cancel(5)
    with pytest.raises(TypeError, match="Scheduler.call_soon.* needs an argument"):
        _core.Scheduler.call_soon()


def test_subclasses_are_of_the_class():
    loop = loopx.new_event_loop()
    try:
        assert _core.Scheduler.time(loop) > 0
        with pytest.raises(TypeError):
            _core.StreamTransport.write(loop, b"")
    finally:
        loop.close()
