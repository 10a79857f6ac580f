"""What can go wrong with a job, and with one of its lines."""

from __future__ import annotations

from predictor.ttypes import BatchStage

_STAGES = {
    BatchStage.MODEL: "cannot get the model",
    BatchStage.TENSORFLOW: "cannot start TensorFlow",
    BatchStage.PREDICTIONS: "cannot make predictions",
}


class JobError(Exception):
    """The job has failed, in a BatchStage. The message says for people where and why; `reason` leaves out the stage."""

    def __init__(self, stage: int, reason: str) -> None:
        super().__init__(f"{_STAGES[stage]}: {reason}")
        self.stage = stage
        self.reason = reason


class StoppedError(Exception):
    """The job was told to stop."""


class RowError(Exception):
    """One line cannot be predicted; what becomes of the job is a matter of its on_error. `code` is an ErrorCode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
