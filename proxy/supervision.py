"""``sse-kms-proxy serve``: the workers of one configuration, until a stop signal."""

from collections.abc import Callable

from proxy.config import Config
from proxy.processes import StopSignal
from proxy.workers import Workers, listen


def serve(config: Config, say: Callable[[str], None]) -> int:
    """Starts the workers, says where they listen, and supervises them. Returns the exit code.

    Raises:
        StartError: the port is taken, or a worker can't start.
    """
    settings = config.listen
    with StopSignal() as stop:
        workers = Workers(config, listen(settings.host, settings.port, settings.workers))
        try:
            if not workers.start(stop):
                return 128 + stop.received[0]
            scheme = "https" if settings.tls_certificate else "http"
            count = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
            say(f"ready: {scheme}://{settings.host}:{settings.port}, {count}, in front of {config.upstream.url}")
            workers.supervise(stop)
            say("stopping")
        finally:
            workers.stop(stop)
    return 0
