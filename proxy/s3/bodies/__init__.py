"""What clients send up.

``payload``   how the body of an upload is framed, measured and verified, as its head says.
``documents`` the XML document of a request, verified, and bounded in memory.
``post_form`` a POST form, as the PutObject that it stands for.
"""
