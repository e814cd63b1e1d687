"""Where the counts of request quotas are shared between workers."""
