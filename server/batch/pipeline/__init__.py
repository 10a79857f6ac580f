"""From a file of lines to a file of results.

A chunk is some lines of a file. A method predicts its instances; an executor turns it into its part of the output, in
this process or on other machines.

Imports run one way: lines, method < rows < results < executor < local_executor, file_task. Of the rest of batch jobs
this knows state and storage.
"""
