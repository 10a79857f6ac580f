"""Where jobs read and write: local folders, gs://, s3://, and http(s):// for reading.

Imports run one way: schemes, errors, own_files < locations < permissions, overlap, local_copies < backends < access.
Others use `access.Storage`. A new scheme is a module in backends/ and a row in schemes.py.
"""
