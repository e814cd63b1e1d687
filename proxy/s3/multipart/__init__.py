"""Multipart uploads under way.

``uploads``      an upload, found and checked for the operations on its parts.
``part_choice``  which attempts at its parts an object is made of.
``stored_parts`` the parts that the store has of it.
"""
