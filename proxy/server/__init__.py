"""The HTTP server and the endpoint behind it, which authenticates a request and picks the service."""
