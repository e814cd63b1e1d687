"""The key service: an implementation of AWS KMS's API over a store of records and a root key.

The map, bottom to top:

``store`` ``root_key`` ``provider``  the ports; ``stores`` ``root_keys`` ``providers`` implement them
``blob`` ``model`` ``material``      [pure] ciphertext blobs; entities and their records; key material
``states``                           AWS's key-state table; a state follows from the record and the time
``key_ids`` ``key_policies`` ``grants`` ``import_token`` ``shapes``   one subject each, pure
``repository``                       entities kept while the store's generation stays the same
``key_ring``                         backing keys made, wrapped, unwrapped
``lifecycle``                        what time alone does to a key, settled by whoever looks at it next
``service``                          keys found, callers authorized
``operation`` ``operations``         AWS's operations as values, and the table that calls them
``scheduler``                        settles, now and then, the keys that nobody looks at

Every change is one write of the store that compares versions; a conflict runs the operation again from its start.
"""
