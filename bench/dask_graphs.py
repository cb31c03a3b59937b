"""Tasks that take each other's results with Dask: two worker processes of one thread.

usage: dask_graphs.py PROGRAM SIZE FAN_IN SEED

PROGRAM is one of those of `bench/src/bin/graphs.rs`, and is the same here: the same sizes, the same drawn graph, the same checks. Starts a
LocalCluster, whose scheduler is in this process, and runs a few hundred tasks; that is not counted. Prints one line of JSON: number of tasks,
seconds, and by how many bytes the peak of this process's memory is above what it held before.
"""

import json
import sys
import time

from dask.distributed import Client, LocalCluster

WARM_UP = 500
INPUTS = 3
MASK = (1 << 64) - 1


def add(a, b):
    return a + b


def submits(client, size, _fan_in, _seed):
    began = time.perf_counter()
    futures = [client.submit(add, n, 1, pure=False) for n in range(size)]
    results = client.gather(futures)
    seconds = time.perf_counter() - began
    assert results == list(range(1, size + 1))
    return size, seconds


def chain(client, size, _fan_in, _seed):
    began = time.perf_counter()
    future = client.submit(add, 0, 1, pure=False)
    for _ in range(1, size):
        future = client.submit(add, future, 1, pure=False)
    result = future.result()
    seconds = time.perf_counter() - began
    assert result == size
    return size, seconds


def tree(client, size, fan_in, _seed):
    began = time.perf_counter()
    level = client.map(add, range(size), [1] * size, pure=False)
    tasks = size
    while len(level) > 1:
        groups = [level[first : first + fan_in] for first in range(0, len(level), fan_in)]
        # A future that is left alone goes up as it is.
        alone = groups.pop() if len(groups[-1]) == 1 else []
        level = client.map(sum, groups, pure=False) + alone
        tasks += len(groups)
    result = level[0].result()
    seconds = time.perf_counter() - began
    assert result == size * (size + 1) // 2
    return tasks, seconds


def drawn(size, seed):
    """The inputs of each task, and the indices of those that no other takes. As `bench/src/drawn.rs` draws them."""
    state = seed
    inputs = []
    taken = [False] * size
    for task in range(size):
        chosen = []
        while task >= INPUTS and len(chosen) < INPUTS:
            # SplitMix64.
            state = (state + 0x9E3779B97F4A7C15) & MASK
            bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
            place = (bits ^ (bits >> 31)) % task
            if place not in chosen:
                chosen.append(place)
                taken[place] = True
        inputs.append(chosen)
    return inputs, [task for task in range(size) if not taken[task]]


def graph(client, size, _fan_in, seed):
    inputs, sinks = drawn(size, seed)
    before = restarted_peak()
    began = time.perf_counter()
    futures = []
    for chosen in inputs:
        numbers = [futures[place] for place in chosen] or [1]
        futures.append(client.submit(sum, numbers, pure=False))
    futures = [futures[sink] for sink in sinks]
    results = client.gather(futures)
    seconds = time.perf_counter() - began
    memory = peak() - before
    expected = []
    for chosen in inputs:
        expected.append(sum([expected[place] for place in chosen] or [1]))
    assert results == [expected[sink] for sink in sinks]
    return size, seconds, memory


PROGRAMS = {"submits": submits, "chain": chain, "tree": tree, "map-reduce": tree, "graph": graph}


def peak():
    """The most memory that this process has held, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


def restarted_peak():
    """The same, from what it holds now. Where the kernel does not do that, the peak stays."""
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
    except OSError:
        pass
    return peak()


def main():
    program, size, fan_in, seed = sys.argv[1], *map(int, sys.argv[2:])
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster, Client(cluster) as client:
        submits(client, WARM_UP, fan_in, seed)
        tasks, seconds, *memory = PROGRAMS[program](client, size, fan_in, seed)
    print(json.dumps({"tasks": tasks, "seconds": seconds, "memory": memory[0] if memory else 0}))


if __name__ == "__main__":
    # By its name: functions of the main module would travel by value.
    import dask_graphs

    dask_graphs.main()
