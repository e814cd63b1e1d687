"""CopyObject, UploadPartCopy and UpdateObjectEncryption: what they read, and what the store copies by itself.

``copy_source``  the source: named by a header, in a bucket of its own, read by the same caller.
``within_store`` a copy whose data stays in the store.
``parts``        the parts of a multipart object, copied within the store, and what copies have in common.
``kept_alive``   an answer that is begun before it is known, so that clients wait.
"""
