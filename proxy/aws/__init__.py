"""What S3 and KMS share on the wire. Pure: no input or output, no clock, no randomness, no environment."""
