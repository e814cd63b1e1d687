"""One module per S3 operation, or per family that shares its rules."""
