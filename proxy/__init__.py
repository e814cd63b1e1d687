"""An S3-compatible proxy that gives any S3 store AWS's SSE-KMS, with an AWS-KMS-compatible key service inside.

The map, bottom to top; a package imports only from packages below it:

``values``    small classes whose instances never change.
``stream``    Transform, Pipeline, pump: how bytes flow. Every codec, verifier and cipher is a Transform.
``buffers``   memory for bytes on their way, used again; ``blocks`` receives long bodies into it.
``transports`` what the connections on both sides have in common.
``wal_index`` whether anything was committed to a SQLite database, told without asking it.
``durable``   what is written reaches the disk.
``xaes``      XAES-256-GCM (C2SP): the one AEAD for everything that is wrapped rather than streamed.
``aws``       [pure] what S3 and KMS share on the wire: messages, errors, ARNs, credentials, SigV4, aws-chunked,
              checksums, JSON, XML, policies.
``envelope``  [pure] what lies in the bucket: the metadata header, segments, ranges; ``FORMAT.md`` specifies it.
``kms``       the key service: keys, states, operations; ``kms.provider`` is all that ``s3`` sees of it.
``sts``       the security token service: roles, temporary credentials, session keys.
``audit``     the audit log: chained files of events, their anchors, and the verification of both.
``s3``        the gateway: one module per operation that touches object bytes, sizes, ETags or encryption.
``server``    the HTTP server and the endpoint that authenticates a request and picks the service.
``config``    frozen settings, read and checked as a whole; the only reader of the environment. ``settings_reader``,
              ``principals_reader`` and ``keys_reader`` read its sections.
``app``       the composition root: the only module that names concrete classes. ``key_commands`` composes the
              commands on keys: backup, restore, root key rotation.
``workers``   processes that serve one port, replaced when they crash; ``processes`` ties them to their parent.
``dev``       a whole endpoint on one machine: ``supervision`` of the workers, the ``embedded_store``, the
              ``development`` data directory, ``certificates``.
``cli``       the ``sse-kms-proxy`` command; ``keys_cli`` has its commands on keys, ``buckets_cli`` those on buckets.

Pure modules do no input or output and read no clock, randomness or environment: those are handed to them.
The contracts are held by import-linter (``pyproject.toml``).
"""

__version__ = "0.1.0"
