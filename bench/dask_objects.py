"""Two jobs over objects in S3 with Dask: two worker processes, whole objects read, then computed.

usage: dask_objects.py ENDPOINT BUCKET JOB WORD KEY...

JOB is `text` (text of each PDF) or `scan` (which PDFs of each tar hold WORD). The keys to sign with come from the environment. Starts a
LocalCluster of two single-threaded workers, lets each import what it needs, then maps the keys and gathers what comes of them. Prints one line:
results, seconds, failures, bytes read. Starting the cluster and importing are not counted.
"""

import io
import sys
import tarfile
import time

from dask.distributed import Client, LocalCluster

CLIENTS = {}


def read(endpoint, bucket, key):
    import boto3

    # One client for each process, as one would write it: its connections are kept.
    if endpoint not in CLIENTS:
        CLIENTS[endpoint] = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    return CLIENTS[endpoint].get_object(Bucket=bucket, Key=key)["Body"].read()


def text_of(data):
    import pymupdf

    with pymupdf.open(stream=data, filetype="pdf") as document:
        return "\f".join(page.get_text() for page in document)


def text(endpoint, bucket, key, _word):
    data = read(endpoint, bucket, key)
    return len(data), len(text_of(data))


def scan(endpoint, bucket, key, word):
    data = read(endpoint, bucket, key)
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".pdf"):
                try:
                    found.append((member.name, word in text_of(archive.extractfile(member).read()).lower()))
                except Exception:
                    found.append((member.name, None))
    return len(data), found


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception:
        return None


def main():
    endpoint, bucket, job, word, keys = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]
    function = {"text": text, "scan": scan}[job]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster, Client(cluster) as client:
        client.run(attempt, function, endpoint, bucket, keys[0], word)
        began = time.perf_counter()
        results = client.gather(client.map(lambda key: attempt(function, endpoint, bucket, key, word), keys, pure=False))
        seconds = time.perf_counter() - began
    read_bytes = sum(result[0] for result in results if result is not None)
    print(len(results), f"{seconds:.3f}", sum(result is None for result in results), read_bytes)


if __name__ == "__main__":
    # By its name: functions of the main module would travel by value, and each task would have a client of its own.
    import dask_objects

    dask_objects.main()
