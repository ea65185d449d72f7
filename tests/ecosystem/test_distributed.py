"""A Dask cluster started with the loop's policy: in one process, and scheduler and workers in many.

Owns: the clusters, each in a process of its own that reports what it did.
Thread: the main thread of these processes; Dask runs its loop in one more.
Must not: leave a process behind; distributed keeps threads and loops for the life of a process,
which is why none of this runs in the process of the tests.
"""

import json
from pathlib import Path

import pytest

from tests.support.children import run_python

pytest.importorskip("distributed")
pytest.importorskip("dask")
pytestmark = pytest.mark.time_limit(180)

PROGRAM = '''
import asyncio, json, os, sys

def choose(kind):
    if kind != "asyncio":
        module = __import__(kind)
        asyncio.set_event_loop_policy(module.EventLoopPolicy())

def which_loop(dask_worker):
    return type(dask_worker.loop.asyncio_loop).__module__.split(".")[0]

def which_pid(dask_worker):
    return os.getpid()

def size(data):
    return len(data)

def fail():
    raise ZeroDivisionError("as asked")

# Workers are spawned: each imports this file again.
choose(sys.argv[1] if len(sys.argv) > 1 else os.environ["CLUSTER_LOOP"])

def main():
    kind, processes = sys.argv[1], sys.argv[2] == "processes"
    os.environ["CLUSTER_LOOP"] = kind
    from distributed import Client, LocalCluster
    found = {}
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=processes, dashboard_address=None
    ) as cluster, Client(cluster) as client:
        found["scheduler"] = which_loop(cluster.scheduler)
        found["workers"] = sorted(set(client.run(which_loop).values()))
        found["processes"] = len(set(client.run(which_pid).values()) - {os.getpid()})
        squares = client.map(lambda number: number ** 2, range(500))
        found["sum"] = client.submit(sum, squares).result(timeout=60)
        [data] = client.scatter([b"x" * 10_000_000], broadcast=True)
        found["size"] = client.submit(size, data).result(timeout=60)
        try:
            client.submit(fail).result(timeout=60)
        except ZeroDivisionError as error:
            found["error"] = str(error)
    print(json.dumps(found))

if __name__ == "__main__":
    main()
'''


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_local_cluster(loop_kind: str, where: str, tmp_path: Path) -> None:
    script = tmp_path / "cluster.py"
    script.write_text(PROGRAM)
    done = run_python(str(script), loop_kind, where)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "scheduler": loop_kind,
        "workers": [loop_kind],
        "processes": 2 if where == "processes" else 0,
        "sum": sum(number**2 for number in range(500)),
        "size": 10_000_000,
        "error": "as asked",
    }
