"""openssl's command line, an implementation that shares nothing with this project's."""

import shutil
import subprocess

_PROGRAM = shutil.which("openssl") or "openssl"


def openssl(*arguments: str) -> bytes:
    """What a command writes to its standard output. Raises CalledProcessError when it fails."""
    return subprocess.run([_PROGRAM, *arguments], check=True, capture_output=True).stdout
