"""The gateway: S3 operations over an upstream store, a key provider and the state of buckets and uploads."""
