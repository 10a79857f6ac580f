"""The kinds of storage: each is a Backend, imported when a location first needs it.

Imports run one way: backend < local, http, object_store < gcs, s3.
"""
