"""The spans that a Dispatcher adds to a task's trace, sent to a real receiver."""

import pytest

from deployments.settings import TraceSettings
from models.request.request import VideoRequest
from storage.tasks import NewTask, RequestContext
from tests.dispatcher.fakes import MODEL, dispatcher, end, until
from tests.otlp import receiving

pytestmark = pytest.mark.anyio
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_each_attempt_is_a_span_that_says_how_it_failed(settings, store, workers):
    """The wait in the queue is recorded once, with the first attempt."""
    origin = RequestContext("request-7", f"00-{TRACE_ID}-{SPAN_ID}-01")
    task = store.submit(NewTask(VideoRequest(prompt="x"), MODEL, "http://box", context=origin))
    workers.deadly.add(task.id)
    with receiving() as receiver:
        traced = settings.model_copy(update={"traces": TraceSettings(endpoint=receiver.endpoint)})
        one = dispatcher(traced, workers, 1)
        await until(lambda: store.get(task.id).is_finished)
        await end(one)
    queued = [span for span in receiver.spans if span.name == "queue"]
    claims = sorted((span for span in receiver.spans if span.name == "claim"), key=lambda span: span.began_at)
    assert len(queued) == 1
    assert [claim.attributes["attempt"] for claim in claims] == [1, 2, 3]
    assert {claim.attributes["error.type"] for claim in claims} == {"ActorDiedError"}
    assert all(claim.failed for claim in claims)
    assert {(span.trace_id, span.parent_id) for span in receiver.spans} == {(TRACE_ID, SPAN_ID)}
    assert {span.attributes["task_id"] for span in receiver.spans} == {task.id}
    assert workers.parents == {claim.span_id for claim in claims}, "what the Generator is given leads to its claim"
