"""Values whose own field is called `kind` keep it, also inside a union."""

from holdfast.model import wire
from holdfast.model.evidence import Answer
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.run import Failed, RunResult


def test_a_failure_keeps_its_kind_as_a_member_of_a_union() -> None:
    failure = Failure(kind=FailureKind.LOCKED, detail="by a maintenance run")
    answered = Answer(listing=failure, record=failure)
    assert wire.decode(Answer, wire.encode(answered)) == answered
    result = RunResult(run="r", outcome=Failed(failure=failure))
    assert wire.decode(RunResult, wire.encode(result)) == result
