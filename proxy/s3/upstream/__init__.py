"""The S3 store behind the gateway, as it is reached and in what it is unlike AWS. Nothing here knows of the gateway.

``port``        Upstream, and the errors that every implementation raises.
``http``        the port over HTTP: signs requests, sends them over pooled connections.
``http_pool``   a bounded number of connections, kept open and shared.
``http_client`` one connection.
``http_answer`` the body of an answer that did not come together with its head.
``http_timing`` time limits.
``profiles``    what each kind of store does differently from AWS: the one place of their quirks.
``detection``   which kind of store is behind.
"""
