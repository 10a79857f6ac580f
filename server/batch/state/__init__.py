"""What is known of a job while it runs, and what a crash must not take away.

Imports run one way: errors < job, control < schema < job_store. Of the rest of batch jobs this knows storage only.
"""
