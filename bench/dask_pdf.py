"""Text of PDFs with Dask: two worker processes, one library.

usage: dask_pdf.py LIBRARY REPEAT FILE...

Starts a LocalCluster of two single-threaded workers, lets each import the library, then maps the files REPEAT times and gathers the texts.
Prints one line: tasks, seconds, failures. Starting the cluster and importing are not counted.
"""

import sys
import time

from dask.distributed import Client, LocalCluster


def with_pymupdf(path):
    import pymupdf

    with pymupdf.open(path) as document:
        return len("\f".join(page.get_text() for page in document))


def with_pypdf(path):
    import logging

    import pypdf

    logging.disable(logging.CRITICAL)
    return len("\f".join(page.extract_text() for page in pypdf.PdfReader(path).pages))


def attempt(function, path, _number):
    try:
        return function(path)
    except Exception:
        return None


def main():
    library, repeat, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    function = {"pymupdf": with_pymupdf, "pypdf": with_pypdf}[library]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster, Client(cluster) as client:
        client.run(attempt, function, files[0], 0)
        inputs = [(path, number) for number in range(repeat) for path in files]
        began = time.perf_counter()
        results = client.gather(client.map(lambda each: attempt(function, *each), inputs, pure=False))
        seconds = time.perf_counter() - began
    print(len(results), f"{seconds:.3f}", sum(result is None for result in results))


if __name__ == "__main__":
    main()
