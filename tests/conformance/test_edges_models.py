"""Model endpoints that misbehave: the client is told what is wrong, the session takes the next message."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server, Stage, data_directory, serving
from session_talk import Reader, Talk

from outrider.models.scripted.script import Answer, Barrier, HttpError, Request, Turn

CONFIG = """
[limits]
model_attempts = 2
backoff_first = 0.02
backoff_most = 0.05
model_idle_timeout = 2.0
heartbeat = 1.0

[endpoints.odd]
base_url = "{odd}"
auth = "none"

[endpoints.gone]
base_url = "http://127.0.0.1:{gone}"
auth = "none"
"""
BEATS = "[limits]\nheartbeat = 1.0\n"  # an idle reader that is closed notices at the next one
PAGE = b"<!doctype html><html><title>502 Bad Gateway</title></html>"
ODD: dict[str, tuple[int, str, bytes]] = {
    "html-ok": (200, "text/html", PAGE),
    "html-bad": (502, "text/html", PAGE),
    "json-ok": (200, "application/json", b'{"hello": "world"}'),
    "text-401": (401, "text/plain", b"who are you?"),
    "not-json": (200, "text/event-stream", b"event: message_start\ndata: this is not JSON\n\n"),
    "array": (200, "text/event-stream", b"event: message_start\ndata: [1, 2]\n\n"),
    "not-utf8": (200, "text/event-stream", b'event: message_start\ndata: {"a": "\xff\xfe"}\n\n'),
    "empty": (200, "text/event-stream", b""),
    "other": (200, "text/event-stream", b'event: hello\ndata: {"type": "hello"}\n\n'),
}


class Odd(BaseHTTPRequestHandler):
    """An endpoint that answers by the model's name, and that speaks no Messages API."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        name = next(name for name in ODD if f'"{name}"'.encode() in body)
        status, kind, answer = ODD[name]
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def odd_endpoint() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{endpoint.server_address[1]}"
        finally:
            endpoint.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def misled(stage: Stage) -> Generator[Server]:
    """A server with a sound endpoint, an odd one, and one at a port where nobody listens (bound, so nobody can)."""
    with socket.socket() as nobody, odd_endpoint() as odd, data_directory() as data:
        nobody.bind(("127.0.0.1", 0))
        config = CONFIG.format(odd=odd, gone=nobody.getsockname()[1])
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=config) as server:
            yield server


@pytest.fixture(scope="module")
def misled_client(misled: Server) -> Generator[Anthropic]:
    with misled.client() as client:
        yield client


def open_talk(client: Anthropic, model: str) -> Talk:
    agent = client.beta.agents.create(name="tester", model=model)
    environment = client.beta.environments.create(name="tests")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)


def failed_turn(talk: Talk, reader: Reader, text: str) -> list[Any]:
    """Send a message that the model can't answer; the errors up to the turn's end, the last of them exhausted."""
    seen = len(reader.events)
    talk.say(text)
    reader.idle("retries_exhausted")
    errors = [event.error for event in reader.events[seen:] if event.type == "session.error"]
    assert [error.retry_status.type for error in errors] == ["retrying"] * (len(errors) - 1) + ["exhausted"]
    return errors


def in_order(talk: Talk) -> None:
    """Each model request ended, and ended badly; nothing waits."""
    history = talk.history()
    starts = [event.id for event in history if event.type == "span.model_request_start"]
    ends = {event.model_request_start_id: event for event in history if event.type == "span.model_request_end"}
    assert sorted(starts) == sorted(ends)
    assert all(event.processed_at is not None for event in history)
    assert history[-1].type == "session.status_idle"


def test_a_wrong_model_key_is_said_clearly_and_the_session_stays_usable(play: Play, stage: Stage) -> None:
    wrong = HttpError(401, "authentication_error", "invalid x-api-key")
    talk = play(wrong)
    with talk.stream() as reader:
        (error,) = failed_turn(talk, reader, "hello")
        assert error.type == "model_request_failed_error"
        assert "401" in error.message
        assert "invalid x-api-key" in error.message
        in_order(talk)
        stage.put(talk.client.beta.sessions.retrieve(talk.id).agent.model.id, Turn("Here I am."))
        talk.say("and now?")
        reader.idle("end_turn")
    assert [e.content[0].text for e in talk.history() if e.type == "agent.message"] == ["Here I am."]


def test_the_model_key_that_is_configured_is_the_one_that_arrives(stage: Stage) -> None:
    def guard(request: Request) -> Answer:
        keys = (request.headers.get("x-api-key"), request.headers.get("authorization", "").removeprefix("Bearer "))
        if "right-model-key" in keys:
            return Turn("Welcome.")
        return HttpError(401, "authentication_error", f"invalid key {keys}")

    stage.put("guarded", decide=guard)
    with data_directory() as data:
        environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "wrong-model-key"}
        with serving(data, environment, config=BEATS) as server, server.client() as client:
            talk = open_talk(client, "guarded")
            with talk.stream() as reader:
                (error,) = failed_turn(talk, reader, "hello")
                assert "401" in error.message
                assert "wrong-model-key" not in error.message
            in_order(talk)
        with serving(data, environment | {"OUTRIDER_MODEL_KEY": "right-model-key"}, config=BEATS) as server:
            with server.client() as client:
                talk = Talk(client, talk.id)
                with talk.stream() as reader:
                    talk.say("again")
                    reader.idle("end_turn")


def test_an_unreachable_model_is_tried_again_and_then_given_up(misled_client: Anthropic) -> None:
    talk = open_talk(misled_client, "gone/model")
    with talk.stream() as reader:
        errors = failed_turn(talk, reader, "hello")
        assert len(errors) == 2
        assert "can't be reached" in errors[-1].message
        assert reader.types().count("session.status_rescheduled") == 1
        assert len(failed_turn(talk, reader, "once more")) == 2
    in_order(talk)


@pytest.mark.parametrize(
    ("model", "words", "attempts"),
    [
        ("html-ok", ["does not stream", "text/html"], 1),
        ("html-bad", ["502", "Bad Gateway"], 2),
        ("json-ok", ["does not stream", "application/json"], 1),
        ("text-401", ["401", "who are you?"], 1),
        ("not-json", ["no JSON object"], 2),
        ("array", ["no JSON object"], 2),
        ("not-utf8", ["no JSON object"], 2),
        ("empty", ["before"], 2),
        ("other", ["before"], 2),
    ],
)
def test_an_endpoint_that_speaks_something_else_gives_a_clear_error(
    misled_client: Anthropic, model: str, words: list[str], attempts: int
) -> None:
    talk = open_talk(misled_client, f"odd/{model}")
    with talk.stream() as reader:
        errors = failed_turn(talk, reader, "hello")
    assert len(errors) == attempts
    for error in errors:
        assert error.type == "model_request_failed_error"
        assert all(word in error.message for word in words), error.message
    in_order(talk)


def test_a_first_byte_that_never_comes_ends_the_attempt(
    misled_client: Anthropic, stage: Stage, model_name: str
) -> None:
    barrier = f"never-{model_name}"
    talk = open_talk(misled_client, stage.put(model_name, Turn("Late.", first_byte=Barrier(barrier))))
    with talk.stream() as reader:
        errors = failed_turn(talk, reader, "hello")
    stage.release(barrier)
    assert len(errors) == 2
    assert "sent nothing for 2 seconds" in errors[-1].message
    in_order(talk)


def test_a_slow_first_byte_is_waited_for_while_the_session_can_be_used(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"slow-{model_name}"
    talk = play(Turn("Late, but here.", first_byte=Barrier(barrier)), Turn("That too."))
    with talk.stream() as reader:
        talk.say("hello")
        stage.arrived(barrier)
        assert talk.status() == "running"
        talk.say("and this")
        stage.release(barrier)
        reader.idle("end_turn")
        texts = [event.content[0].text for event in reader.events if event.type == "agent.message"]
        if texts == ["Late, but here."]:
            reader.idle("end_turn")
    talk.wait()
    assert [e.content[0].text for e in talk.history() if e.type == "agent.message"] == ["Late, but here.", "That too."]


def test_an_interrupt_ends_the_wait_for_a_first_byte(play: Play, stage: Stage, model_name: str) -> None:
    barrier = f"wait-{model_name}"
    talk = play(Turn("Never heard.", first_byte=Barrier(barrier)))
    with talk.stream() as reader:
        talk.say("hello")
        stage.arrived(barrier)
        talk.send({"type": "user.interrupt"})
        reader.idle("end_turn")
    stage.release(barrier)
    in_order(talk)
    assert not [event for event in talk.history() if event.type == "agent.message"]
