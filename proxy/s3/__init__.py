"""The gateway: S3 operations over an upstream store, a key provider and the state of buckets and uploads.

``operations`` has one module for each operation that touches object bytes, sizes, ETags, encryption or access, a table
of those that are passed on, and one of what is refused by name. What they stand on, by subject:

- the frame: ``gateway`` (ports and settings, Call, Target), ``operation`` (the route table), ``errors``, ``failures``,
  ``documents``, ``numbers``, ``forwarding`` (what goes up and comes back).
- the store: ``upstream`` (the port), ``http_upstream``, ``http_client``, ``http_pool``, ``http_answer``,
  ``http_timing``; ``store_profiles`` and ``store_detection`` (quirks), ``store_reads``.
- what is remembered: ``state`` (the ports), ``stores``, ``object_records``, ``bucket_records``, ``buckets_on_record``,
  ``adoption``, ``reindex``.
- encryption: ``sse`` (which mode), ``customer_keys``, ``data_keys``, ``bucket_keys``.
- objects: ``objects`` (what lies in the store), ``object_headers``, ``etag``, ``byte_range``, ``preconditions``,
  ``payload``, ``memory``, ``object_tags``, ``delete_markers``, ``post_form``.
- copies: ``copy_source``, ``store_copy``, ``kept_alive``.
- multipart: ``multipart``, ``part_choice``, ``part_walk``, ``stored_parts``.
- listings: ``listing``, ``listing_parameters``, ``object_walk``, ``version_listing``, ``version_pages``,
  ``version_walk``.
- access: ``authorization``, ``actions``, ``condition_keys``, ``bucket_policy``, ``public_policies``, ``accounts``,
  ``cors``.
"""
