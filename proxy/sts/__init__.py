"""The security token service: roles, temporary credentials, and who is who.

Temporary credentials need no table: the session token holds, sealed, whom it stands for and until when. It names a
user or role, whose policies are read from the configuration at each request.
"""
