"""Batch jobs: files in, files out.

storage/       where files are: local folders, buckets, web servers
state/         what is known of a job, and the store that keeps it
pipeline/      from a file of lines to a file of results
methods/       what a line may be predicted by: loaded models, SavedModels
ray/           the same on a Ray cluster
runner.py      one job, file after file
admission.py, scheduler.py, jobs.py     the server's jobs
command_line/, __main__.py              python -m server.batch

Imports run one way: storage < state < pipeline < methods < ray < runner < admission, scheduler < jobs; and
methods < command_line < __main__.
"""
