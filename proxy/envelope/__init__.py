"""What lies in the bucket. Pure. ``FORMAT.md`` beside this file is the byte-exact specification.

``v1``        sealing, unlocking, re-wrapping and opening objects: what the gateway calls.
``header``    the header in user metadata.
``ranges``    sizes and byte ranges: arithmetic between plaintext and what is stored.
``parts``     frames, and the table of parts of a multipart object.
``segments``  the transforms over streams of segments; ``layers``, one or two of them on top of each other.
``record``, ``footer``, ``digests``, ``keys``, ``varint``: what these are made of.
"""
