"""One module per family of KMS operations."""
