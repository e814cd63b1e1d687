"""Pages of listings.

``parameters``      what every listing has of parameters.
``object_listing``  a page of objects: read, sizes and ETags put right, rendered.
``object_walk``     ListObjects from a store that lists its folders one after the other: SeaweedFS.
``version_listing`` a page of versions: read, put right, rendered.
``version_pages``   which versions a page has: none skipped, none shown twice.
``version_walk``    ListObjectVersions from SeaweedFS.
``delete_markers``  those that are named by their version, found by listing it.
"""
