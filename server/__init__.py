"""The Thrift prediction server: bytes in, batches through the C++ extension, bytes out."""
