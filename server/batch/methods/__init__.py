"""What a job may do with its lines: the server's own methods with a loaded model, or a SavedModel.

Imports run one way: text_methods, loaded_models, loop_results < text_model; saved_model; both < local_executors,
local_models. Of the rest of batch jobs this knows pipeline, state and storage.
"""
