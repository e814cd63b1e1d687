"""The key service: an implementation of AWS KMS's API over a store of records and a root key."""
