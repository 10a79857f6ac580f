"""What a reader of PyText's tutorial does first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.service import curl

if TYPE_CHECKING:
    from tests.support.service import Service

LABELS = [
    "alarm/modify_alarm",
    "alarm/set_alarm",
    "alarm/snooze_alarm",
    "alarm/time_left_on_alarm",
    "reminder/set_reminder",
    "reminder/show_reminders",
    "weather/find",
]


def test_curl_line_of_the_tutorial(service: Service) -> None:
    answer = curl("-G", f"http://localhost:{service.rest_port}", "--data-urlencode", "doc=set an alarm")

    lines = [re.fullmatch(r"([^:]+):(-?[0-9.e+-]+)", line) for line in answer.splitlines()]
    scores = {line[1]: float(line[2]) for line in lines if line is not None}
    assert answer.endswith("\n")
    assert list(scores) == LABELS
    assert max(scores, key=scores.__getitem__) == "alarm/set_alarm"


def test_thrift_and_http_give_the_same_scores(service: Service) -> None:
    with service.client() as predictor:
        scores = predictor.predict("remind me to call mother at six", None)

    answer = service.http("/predict?doc=remind+me+to+call+mother+at+six", headers={"Accept": "application/json"})
    assert answer.json() == {"scores": scores}
    plain = service.http("/?doc=remind+me+to+call+mother+at+six").text
    assert plain == "".join(f"{label}:{scores[label]:g}\n" for label in sorted(scores))


def test_ready_line_names_the_ports(service: Service) -> None:
    assert service.port > 0
    assert service.rest_port > 0
    assert service.http("/readyz").json() == {"ready": True}
    assert service.status().ready
