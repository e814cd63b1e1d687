"""What the gateway remembers outside the bucket. Nothing here knows of the gateway; only ``sqlite``, ``schema`` and
``writer`` import a driver.

``ports``  the records of buckets, uploads, parts and objects, and the ports that keep them.
``memory`` in memory: for tests, and for a process whose state need not outlive it.
``sqlite`` in one SQLite file, shared by every process that serves.
``rows``   records as rows of that file, and back.
``schema`` its tables, and how a file of an older version becomes one of this.
``writer`` the one thread of a process that writes to it.
"""
