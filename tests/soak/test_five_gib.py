"""5 GiB by multipart with ``aws s3 cp``, up and down, in the memory that 64 MiB take."""

import filecmp
import re
import time
from pathlib import Path

from tests.e2e.memory import MIB, Pattern
from tests.e2e.samples import new_bucket, s3
from tests.e2e.stores import Endpoint, Endpoints, Serve

SLACK = 16 * 1024
"""KiB."""


def test_5_gib_with_the_cli(endpoints: Endpoints, store_name: str, tmp_path: Path) -> None:
    peaks = {}
    for blocks in (64, 5 * 1024):
        proxy = Serve(tmp_path / f"proxy-{blocks}", endpoints.get(store_name).store, workers=2)
        try:
            peaks[blocks] = round_trip(proxy.start(), store_name, blocks, tmp_path)
        finally:
            proxy.close()
    assert peaks[5 * 1024] <= peaks[64] + SLACK, peaks


def round_trip(endpoint: Endpoint, store: str, blocks: int, folder: Path) -> int:
    """The greatest of the workers' peaks of resident memory, in KiB."""
    up, down = folder / "up", folder / "down"
    body = Pattern(blocks)
    with up.open("wb") as out:
        while piece := body.read(MIB):
            out.write(piece)
    bucket, took = new_bucket(endpoint, "aws:kms"), {}
    for name, source, target in (("up", str(up), f"s3://{bucket}/k"), ("down", f"s3://{bucket}/k", str(down))):
        begun = time.monotonic()
        done = endpoint.aws("s3", "cp", "--no-progress", source, target, timeout=3600)
        assert done.returncode == 0, done.stderr.decode()
        took[name] = time.monotonic() - begun
    assert filecmp.cmp(up, down, shallow=False)
    head = s3(endpoint).head_object(Bucket=bucket, Key="k", PartNumber=1)
    assert head["PartsCount"] == blocks // 8
    peak = max(peak_of(worker) for worker in endpoint.workers)
    print(f"{store}: {blocks} MiB up {took['up']:.0f} s, down {took['down']:.0f} s, peak RSS {peak} KiB")
    s3(endpoint).delete_object(Bucket=bucket, Key="k")
    up.unlink()
    down.unlink()
    return peak


def peak_of(process: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1])
