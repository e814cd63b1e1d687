"""Server-side encryption: which mode, and under which key. Bucket keys are the gateway's (``proxy.s3.bucket_keys``).

``sse``           which mode a request or its bucket asks for, and the key service's errors in S3's words.
``customer_keys`` SSE-C: the key that a client brings with its request.
``data_keys``     the data key of an object: made for a new one, unwrapped again for an existing one.
"""
