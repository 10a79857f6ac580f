"""Batch jobs: files in, files out."""
