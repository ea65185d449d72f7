# What asyncio.all_tasks() reads: until Python 3.13 a weakref.WeakSet, which each new task has
# itself added to. Its add() and what it has called at a task's end are Python code, and take a
# sixth of a short task's time. The same in C takes their place on that one set: what WeakSet's
# other methods find is as they left it.

cdef extern from "Python.h":
    object PyWeakref_NewRef(object thing, object callback)

cdef object set_of_all_tasks          # the WeakSet, once its add() is the one below
cdef set references_to_tasks          # and three of its attributes
cdef set iterators_of_tasks
cdef list removals_of_tasks


def _add_task(task):
    """WeakSet.add."""
    if removals_of_tasks:
        set_of_all_tasks._commit_removals()
    references_to_tasks.add(PyWeakref_NewRef(task, _forget_task))


def _forget_task(reference):
    """What WeakSet has called when an item is no more."""
    if iterators_of_tasks:
        removals_of_tasks.append(reference)
    else:
        references_to_tasks.discard(reference)


cdef int quicken_all_tasks() except -1:
    """Called when a loop is made, so that importing loopx changes nothing."""
    global set_of_all_tasks, references_to_tasks, iterators_of_tasks, removals_of_tasks
    if set_of_all_tasks is not None or sys.version_info >= (3, 14) or NO_GIL:
        return 0
    tasks = tasks_module.get("_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks")
    if type(tasks) is not weakref.WeakSet or "add" in vars(tasks):
        return 0
    references_to_tasks, iterators_of_tasks = tasks.data, tasks._iterating
    removals_of_tasks = tasks._pending_removals
    set_of_all_tasks = tasks
    tasks.add = _add_task
    return 0
