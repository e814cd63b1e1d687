"""What is refused by name: operations that are not implemented here, and methods that a sub-resource does not have.

Nothing that names a sub-resource may fall through to a plain operation on the object or bucket: a ``PUT ?acl`` that
is served as PutObject replaces the object by an ACL, and a ``DELETE ?legal-hold`` served as DeleteObject deletes it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from proxy.aws.message import Response
from proxy.s3.errors import invalid_argument, method_not_allowed, not_implemented, precondition_failed
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, Operation, Run

_METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE")
_VERSION_ID: Final = "versionId"
_LIST_TYPE: Final = "list-type=2"
_PLAIN_PARAMETERS: Final = frozenset(
    {"id", "versionId", "list-type", "select-type", "partNumber", "annotationName", "x-id"}
)
"""Parameters in rows that only tell operations on the same resource apart."""


async def _not_implemented(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the form of an operation
    raise not_implemented()


async def _method_not_allowed(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001
    raise method_not_allowed()


async def _not_a_form(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001
    raise precondition_failed("Bucket POST must be of the enclosure-type multipart/form-data")


async def _no_version_id(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001
    value = call.request.parameter(_VERSION_ID) or ""
    raise invalid_argument("This operation does not accept a version-id.", _VERSION_ID, value)


def _row(name: str, method: str, level: Level, *query: str, headers: Iterable[str] = ()) -> Operation:
    # No action: there is nothing to be allowed to do.
    return Operation(name, method, level, "", _not_implemented, frozenset(query), frozenset(headers))


def _bucket(name: str, method: str, *query: str) -> Operation:
    return _row(name, method, Level.BUCKET, *query)


def _object(name: str, method: str, *query: str) -> Operation:
    return _row(name, method, Level.OBJECT, *query)


UNIMPLEMENTED: Final = (
    _object("RenameObject", "PUT", "renameObject"),
    _object("GetObjectTorrent", "GET", "torrent"),
    # As AWS answers all who had not used it by July 2024.
    replace(_object("SelectObjectContent", "POST", "select", "select-type=2"), run=_method_not_allowed),
    _object("GetObjectAnnotation", "GET", "annotation", "annotationName"),
    _object("ListObjectAnnotations", "GET", "annotation"),
    _object("PutObjectAnnotation", "PUT", "annotation"),
    _object("DeleteObjectAnnotation", "DELETE", "annotation"),
    # A form is told by its type, and carries its signature in its fields: it never comes to this table.
    replace(_bucket("PostObject", "POST"), run=_not_a_form),
    _bucket("CreateSession", "GET", "session"),
    _bucket("GetBucketAbac", "GET", "abac"),
    _bucket("PutBucketAbac", "PUT", "abac"),
    _bucket("CreateBucketMetadataConfiguration", "POST", "metadataConfiguration"),
    _bucket("GetBucketMetadataConfiguration", "GET", "metadataConfiguration"),
    _bucket("DeleteBucketMetadataConfiguration", "DELETE", "metadataConfiguration"),
    _bucket("CreateBucketMetadataTableConfiguration", "POST", "metadataTable"),
    _bucket("GetBucketMetadataTableConfiguration", "GET", "metadataTable"),
    _bucket("DeleteBucketMetadataTableConfiguration", "DELETE", "metadataTable"),
    _bucket("UpdateBucketMetadataInventoryTableConfiguration", "PUT", "metadataInventoryTable"),
    _bucket("UpdateBucketMetadataJournalTableConfiguration", "PUT", "metadataJournalTable"),
    _bucket("UpdateBucketMetadataAnnotationTableConfiguration", "PUT", "metadataAnnotationTable"),
    _bucket("DeleteBucketOwnershipControls", "DELETE", "ownershipControls"),
    # Its path stands where a bucket's name does; there is no such bucket to be looked for.
    replace(_row("WriteGetObjectResponse", "POST", Level.BUCKET, headers=("x-amz-request-route",)), makes_bucket=True),
)


def with_refusals(operations: Iterable[Operation]) -> list[Operation]:
    """The operations, and after them a row for every combination of method and sub-resource that none of them has.

    A sub-resource of buckets is refused on objects, too, and the other way round. Neither ``versionId``
    nor ``list-type=2`` beside a sub-resource leads back to the plain operations that have them.
    """
    rows = list(operations)
    names = {part.partition("=")[0] for row in rows for part in row.query} - _PLAIN_PARAMETERS
    taken = {(row.method, row.level, row.query) for row in rows if not row.headers}
    for level in (Level.BUCKET, Level.OBJECT):
        for method in _METHODS:
            for name in sorted(names):
                query = frozenset({name})
                if (method, level, query) not in taken:
                    rows.append(Operation("MethodNotAllowed", method, level, "", _method_not_allowed, query))
    rows += _also_with(_VERSION_ID, Level.OBJECT, rows)
    rows += _also_with(_LIST_TYPE, Level.BUCKET, rows)
    rows.append(_refusal("PUT", {"partNumber"}, _method_not_allowed))
    rows.append(_refusal("PUT", {_VERSION_ID}, _no_version_id))
    return rows


def _also_with(parameter: str, level: Level, rows: list[Operation]) -> list[Operation]:
    """For each row with one sub-resource, the row with ``parameter`` besides, unless it is there: it would be no more
    specific than the row of ``parameter`` alone, and which of the two is served a matter of order."""
    taken = {(row.method, row.query) for row in rows if row.level is level}
    wanted = [row for row in rows if row.level is level and len(row.query) == 1 and not row.headers]
    return [
        replace(row, query=row.query | {parameter})
        for row in wanted
        if parameter not in row.query and (row.method, row.query | {parameter}) not in taken
    ]


def _refusal(method: str, query: set[str], run: Run) -> Operation:
    return Operation("MethodNotAllowed", method, Level.OBJECT, "", run, frozenset(query))
