"""What lies in the bucket. Pure. ``FORMAT.md`` beside this file is the byte-exact specification."""
