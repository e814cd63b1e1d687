"""KMS operations as values, and the table that calls them by name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from proxy.aws import json_codec
from proxy.aws.credentials import CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.json_codec import Structure, Values
from proxy.kms import audit_events, errors
from proxy.kms.audit import AuditUnavailable
from proxy.kms.errors import KmsError, RootKeyUnusable
from proxy.kms.service import KeyService
from proxy.kms.store import Conflict, StoreUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Function = Callable[[KeyService, CallOrigin, Values], Awaitable[Values | None]]

TARGET_PREFIX: Final = "TrentService"

_ATTEMPTS: Final = 100


@dataclass(frozen=True)
class Operation:
    """One KMS operation: AWS's name, the shape of its input, and what it does.

    The function may be run again from its start when another process changed what it read (Conflict), so it makes
    at most one write of the store, its last step."""

    name: str
    input: Structure
    function: Function


def operation(name: str, input: Structure) -> Callable[[Function], Operation]:
    """Makes a function an operation."""

    def make(function: Function) -> Operation:
        return Operation(name, input, function)

    return make


async def guarded(call: Callable[[], Awaitable[T]], request_id: str) -> T:
    """Runs a call to its end: again after each Conflict, and with every fault turned into an error of KMS, which is
    recorded as one. What the operator has to know of a fault is logged with ``request_id``, or whose else call it is.

    Raises:
        KmsError: and nothing else, but for cancellation.
    """
    try:
        for _ in range(_ATTEMPTS):
            try:
                return await call()
            except Conflict:
                await asyncio.sleep(0)
    except KmsError:
        raise
    except AwsError as error:
        raise KmsError(error.code, error.message, error.status) from None
    except StoreUnavailable:
        logger.exception("%s the key store is not available", request_id)
        raise errors.dependency_timeout() from None
    except RootKeyUnusable:
        logger.exception("%s the root key is not available", request_id)
        raise KmsError(
            "KeyUnavailableException", "The request was rejected because the key is not available."
        ) from None
    except Exception:
        logger.exception("%s a call to the key service failed", request_id)
        raise errors.internal() from None
    logger.error("%s gave up after %d conflicting writes", request_id, _ATTEMPTS)
    raise errors.dependency_timeout()


async def perform(
    service: KeyService,
    origin: CallOrigin,
    name: str,
    read: Callable[[], Values],
    run: Callable[[Values], Awaitable[T]],
    answer_of: Callable[[T], Values | None],
) -> T:
    """One call, whoever makes it: its request is read, counted against the caller's quota, answered as ``guarded``
    does it, and recorded; what can't be recorded is not answered.

    Raises:
        KmsError: and nothing else, but for cancellation.
    """
    request: Values | None = None

    async def attempt() -> T:
        nonlocal request
        if request is None:
            request = read()
            service.charge(origin, name, request)
        return await run(request)

    try:
        result = await guarded(attempt, origin.request_id)
    except KmsError as error:
        await _record(service, origin, name, request, None, error)
        raise
    except asyncio.CancelledError:
        # Whatever it has done by now is done.
        await _record(service, origin, name, request, None, errors.abandoned())
        raise
    await _record(service, origin, name, request, answer_of(result), None)
    return result


async def _answer(operation: Operation, service: KeyService, origin: CallOrigin, request: Values) -> Values | None:
    """What the operation answers. A dry run does all but the write, and then says so.

    Source: https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html"""
    if not request.get("DryRun", False):
        return await operation.function(service, origin, request)
    await operation.function(service.rehearsal(), origin, request)
    raise errors.dry_run()


async def _record(
    service: KeyService,
    origin: CallOrigin,
    name: str,
    request: Values | None,
    answer: Values | None,
    error: KmsError | None,
) -> None:
    if service.audit is None:
        return
    try:
        resources = await audit_events.resources_of(service, origin, request or {}, answer or {})
    except StoreUnavailable:
        logger.exception("%s the key store is not available", origin.request_id)
        raise errors.dependency_timeout() from None
    # Secrets do not wait until the event is made.
    asked = None if request is None else audit_events.shown(request)
    answered = None if answer is None or audit_events.is_read_only(name) else audit_events.shown(answer)
    await record(service, origin, name, asked, answered, resources, error)


async def record(
    service: KeyService,
    origin: CallOrigin,
    name: str,
    asked: Mapping[str, Any] | None,
    answered: Mapping[str, Any] | None,
    resources: Sequence[tuple[str, str]],
    error: KmsError | None,
    now: datetime | None = None,
) -> None:
    """Records a call whose parameters and answer are as ``audit_events.shown`` makes them.

    Raises:
        KmsError: DependencyTimeoutException; it can't be recorded, so it must not be answered.
    """
    audit = service.audit
    if audit is None:
        return
    now, ids = now or service.now(), service.event_ids
    audit.record(partial(audit_events.event_of, name, asked, answered, resources, error, origin, now, ids))
    try:
        await audit.settle()
    except AuditUnavailable:
        logger.exception("%s the audit log is not available", origin.request_id)
        raise errors.dependency_timeout() from None


class OperationTable:
    """The operations by name. ``proxy.kms.operations.OPERATIONS`` is the one in use."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        """Raises ValueError when a name stands there twice."""
        self._operations: dict[str, Operation] = {}
        for each in operations:
            if each.name in self._operations:
                raise ValueError(f"{each.name} stands in the table twice")
            self._operations[each.name] = each

    @property
    def names(self) -> frozenset[str]:
        """The operations that are supported."""
        return frozenset(self._operations)

    async def call(self, service: KeyService, origin: CallOrigin, target: str, body: bytes) -> bytes:
        """Answers one call: ``target`` is the value of X-Amz-Target (``TrentService.Encrypt``), ``body`` and the
        answer are JSON; the answer is empty for an operation without output.

        Raises:
            KmsError: and nothing else, but for cancellation.
        """
        found = self._find(target)
        result = await perform(
            service,
            origin,
            found.name,
            lambda: json_codec.decode(found.input, body),
            lambda values: _answer(found, service, replace(origin, request=values), values),
            lambda answer: answer,
        )
        return b"" if result is None else json_codec.encode(result)

    def _find(self, target: str) -> Operation:
        prefix, _, name = target.partition(".")
        found = self._operations.get(name) if prefix == TARGET_PREFIX else None
        if found is None:
            raise KmsError("UnknownOperationException")
        return found
