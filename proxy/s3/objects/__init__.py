"""Objects: what lies in the store, what is on record of it, and what clients see and say of it.

``stored``        an object as the store holds it; every reader of objects goes through it.
``store_reads``   short reads of stored bytes.
``part_walk``     the parts of a multipart object, read off the object itself.
``records``       the life of an object's record: announced, completed, forgotten.
``headers``       which header fields go up with an object, and which come back.
``etag``          the one place where ETags of the store and of clients are translated.
``preconditions`` a client's conditions, as the store decides them.
``byte_range``    the Range header and ``partNumber``.
"""
