"""``sse-kms-proxy serve``: the workers of one configuration, until a stop signal."""

import logging
import os
from collections.abc import Callable

from proxy.config import Config, ConfigError, load
from proxy.processes import StopSignal
from proxy.workers import Workers, listen

logger = logging.getLogger(__name__)


def serve(config: Config, say: Callable[[str], None]) -> int:
    """Starts the workers, says where they listen, and supervises them. Returns the exit code.

    SIGHUP makes all workers take in the users and roles of the configuration file as it is then.

    Raises:
        StartError: the port is taken, or a worker can't start.
    """
    settings = config.listen
    with StopSignal(with_reload=True) as stop:
        workers = Workers(config, listen(settings.host, settings.port, settings.workers))
        try:
            if not workers.start(stop):
                return 128 + stop.received[0]
            scheme = "https" if settings.tls_certificate else "http"
            count = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
            say(f"ready: {scheme}://{settings.host}:{settings.port}, {count}, in front of {config.upstream.url}")
            workers.supervise(stop, lambda: _reload(config, workers, say) if stop.take_reload() else None)
            say("stopping")
        finally:
            workers.stop(stop)
    return 0


def _reload(config: Config, workers: Workers, say: Callable[[str], None]) -> None:
    if config.file is None:
        return
    try:
        changed = load(config.file, os.environ)
    except ConfigError as error:
        for fault in error.faults:
            logger.error("not reloaded: %s", fault)
        return
    workers.reload(changed)
    say(f"reloaded: {len(changed.users)} users, {len(changed.roles)} roles")
