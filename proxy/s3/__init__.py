"""The gateway: S3 operations over an upstream store, a key provider and the state of buckets and uploads.

The map, top to bottom: everything imports only from what is below it, and each package has a map of its own.

``operations``  a module for each operation that touches object bytes, sizes, ETags, encryption or access, a table of
                those that are passed on, and one of what is refused by name.
``copies``      what is copied from where, and what the store copies by itself.
``buckets``     buckets on record: found, changed, adopted, indexed again.
``listings``    pages of objects and of versions, put right.
``objects``     what lies in the store, what is on record of it, what clients see of it.
``multipart``   uploads under way, and their parts.
``access``      who may do what: policies, CORS.
``bodies``      what clients send up: payloads, documents, forms.
``failures``    what goes wrong beneath an operation, in S3's words.
``encryption``  which mode, and under which key.
``forwarding``  what goes to the store and what comes back.
``operation``   operations as values, and the table that finds the one a request asks for.
``gateway``     its ports and settings in one value; Call and Target.
``bucket_keys`` one key of the key service for the data keys of many objects.
``memory``      a bound on the small bodies that are held at the same time.
``upstream``    the store behind: the port, HTTP, quirks.
``state``       what is remembered outside the bucket: the ports, in memory and in SQLite.
``numbers``     whole numbers, as S3 reads them.
``errors``      S3's errors.
"""
