"""What is measured beyond the goals: usually, and in the full matrix."""

from typing import Final

from tests.bench.cells import Cell
from tests.bench.operations import KIB, MIB, Operation

_STORES: Final = ("seaweedfs", "seaweedfs-sse-kms", "minio", "minio-sse-kms")
_FRONTS: Final = (
    "nginx",
    "nginx-large-buffers",
    "rclone-crypt",
    "proxy-pass-through",
    "proxy",
    "proxy-all-workers",
)
_ALL: Final = (*_STORES, *_FRONTS)
_PLAIN: Final = ("seaweedfs", "nginx", "proxy-pass-through", "proxy")

MORE_CELLS: Final = (
    Cell(Operation("GET", 4 * KIB), 8, _ALL, 2, 0.5),
    Cell(Operation("GET", MIB), 8, _ALL, 2, 0.5),
    Cell(Operation("GET", 64 * MIB), 8, _ALL, 1, 1.0),
    Cell(Operation("range", 64 * MIB), 8, _ALL, 2, 0.5),
    Cell(Operation("PUT", 4 * KIB, "sha256"), 8, _ALL, 2, 0.5),
    Cell(Operation("PUT", MIB, "trailer"), 8, _ALL, 2, 0.5),
    Cell(Operation("PUT", MIB, "sha256"), 8, _PLAIN, 2, 0.5),
    Cell(Operation("PUT", MIB, "chunks"), 8, _PLAIN, 2, 0.5),
    Cell(Operation("GET checksum", 4 * KIB), 8, ("seaweedfs", "proxy"), 2, 0.5),
    Cell(Operation("GET checksum", 8 * MIB), 8, ("seaweedfs", "proxy"), 2, 0.5),
    Cell(Operation("HEAD", 4 * KIB), 8, _ALL, 2, 0.5),
    Cell(Operation("multipart", 64 * MIB), 1, ("seaweedfs", "nginx", "proxy"), 2, 1.0),
)

_SIZES: Final = (4 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB)

FULL_CELLS: Final = tuple(
    Cell(operation, connections, _ALL, 3, 1.0)
    for connections in (1, 8, 32)
    for operation in (
        *(Operation("GET", size) for size in _SIZES),
        *(Operation("PUT", size, mode) for size in _SIZES for mode in ("trailer", "sha256", "chunks")),
        *(Operation("GET checksum", size) for size in _SIZES),
        Operation("range", 64 * MIB),
        Operation("multipart", 64 * MIB),
        Operation("HEAD", 4 * KIB),
        Operation("list", KIB),
    )
)
