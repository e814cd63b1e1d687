"""Buckets as the gateway has them on record.

``records``  a bucket's record: found, or refused; and changed, where another request may be changing it, too.
``adoption`` taking buckets that the store already has on record.
``reindex``  putting a bucket's objects on record again, after the gateway's state was lost.
"""
