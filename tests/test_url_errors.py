"""What a judge makes of a server that misbehaves: errors, rubbish, silence, redirects, fields it does not know."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from core.errors import RequestError
from core.judge.client import KEY_VARIABLE, Client, UnreachableError
from core.judge.url import load_url_judge
from core.records import Judgement, JudgeRequest
from tests.support.misbehaving_server import Answer, completion, misbehaving


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    rng = np.random.default_rng(41)
    return [JudgeRequest(f"image-{index}", rng.integers(0, 256, (48, 48, 3), np.uint8), "cow") for index in range(8)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.judge.url.PAUSE", 0.01)


def well_behaved(body: dict[str, Any], _: int) -> Answer:
    """Valid JSON for whatever is asked, score 3, without log-probabilities."""
    asked = body["messages"][0]["content"][-1]["text"]
    return completion(json.dumps({"description": "A cow.", "score": 3, "justification": "It is seen."}, indent=1)
                      if "core" in asked else '<think>\n</think> {"description": "A cow."}')  # fmt: skip


def test_passing_errors_are_tried_again_and_the_server_s_own_pause_is_kept(
    quick: None, requests: list[JudgeRequest]
) -> None:
    times: list[float] = []

    def answer(body: dict[str, Any], number: int) -> Answer:
        times.append(time.monotonic())
        if number % 3 == 1:
            return 429, {"Retry-After": "1"}, {"error": "slow down"}
        return (503, {}, b"starting") if number % 3 == 2 else well_behaved(body, number)

    with misbehaving(answer) as url, load_url_judge(url, concurrency=1) as judge:
        before = len(times)
        assert judge.judge(requests[:1])[0].state == "ok"
        waits = np.diff(times[before - 1 :])
    assert len(times) - before > 3 and max(waits) >= 1.0


def test_errors_that_stay_fail_the_picture_with_the_server_s_words(quick: None, requests: list[JudgeRequest]) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        describes = "core" not in body["messages"][0]["content"][-1]["text"]
        return (500, {}, {"error": "out of memory"}) if describes else well_behaved(body, number)

    with misbehaving(answer) as url, load_url_judge(url) as judge:
        reply = judge.judge(requests[:1])[0]
    assert reply.state == "failed" and reply.score is None
    assert reply.reason is not None and "500" in reply.reason and "out of memory" in reply.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("I would say 4 of 5.", "no JSON"),
        ('{"score": 7, "justification": "x", "description": "x"}', "no digit from 0 to 5: 7"),
        ('{"score": "4", "justification": "x", "description": "x"}', "no digit from 0 to 5"),
        ('{"score": true, "justification": "x", "description": "x"}', "no digit from 0 to 5"),
        ('{"score": 4, "justification": "", "description": " "}', "empty or no plain text"),
        ("", "no JSON"),
    ],
)
def test_rubbish_is_failed_and_never_a_number(
    content: str, reason: str, quick: None, requests: list[JudgeRequest]
) -> None:
    with misbehaving(lambda *_: completion(content)) as url, load_url_judge(url) as judge:
        reply = judge.judge(requests[:1])[0]
    assert (reply.state, reply.score, reply.distribution) == ("failed", None, None)
    assert reply.reason is not None and reason in reply.reason


def test_a_server_that_hangs_or_goes_away_fails_pictures_quickly(quick: None, requests: list[JudgeRequest]) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        if number:
            time.sleep(3)
        return well_behaved(body, number)

    with ExitStack() as stack:
        with misbehaving(answer) as url:
            judge = stack.enter_context(load_url_judge(url, timeout=0.3, concurrency=2))
            hung = judge.judge(requests[:3])
        gone = judge.judge(requests)
    assert any("no answer within 0.3 s" in (reply.reason or "") for reply in hung)
    assert {reply.state for reply in gone} == {"failed"} and "cannot be reached" in (gone[0].reason or "")


def test_contradicting_orders_and_pictures_without_a_map_abstain(quick: None, requests: list[JudgeRequest]) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        text = body["messages"][0]["content"][-1]["text"]
        if text.find("5: ") < text.find("0: "):
            return completion('{"score": 0, "justification": "Nothing."}')
        return completion('{"score": 5, "justification": "All of it.", "description": "A cow."}')

    flat = JudgeRequest("flat", requests[0].masked, "cow", abstain_reason="the map is flat")
    with misbehaving(answer) as url, load_url_judge(url) as judge:
        replies = judge.judge([flat, requests[0]])
    assert replies[0] == Judgement("flat", "abstained", "the map is flat")
    assert replies[1].state == "abstained" and "contradict" in (replies[1].reason or "")


def test_the_distribution_is_read_at_the_score_whatever_the_server_s_tokens(
    quick: None, requests: list[JudgeRequest]
) -> None:
    def answer(body: dict[str, Any], _: int) -> Answer:
        tokens = ['{"', "score", '":', " 2", ',"justification":"x","description":"y"}']
        top = {" 2": 0.5, " 3": 0.25, "3": 0.05, " 7": 0.1}
        content = [{"token": t, "logprob": 0.0, "top_logprobs": []} for t in tokens]
        content[3]["top_logprobs"] = [{"token": t, "logprob": float(np.log(p))} for t, p in top.items()]
        return completion("".join(tokens), logprobs={"content": content})

    with misbehaving(answer) as url, load_url_judge(url) as judge:
        reply = judge.judge(requests[:1])[0]
    assert reply.distribution == pytest.approx([0, 0, 0.625, 0.375, 0, 0])


def test_an_openai_server_that_refuses_unknown_fields_is_asked_without_them(
    quick: None, requests: list[JudgeRequest]
) -> None:
    asked: list[set[str]] = []

    def answer(body: dict[str, Any], number: int) -> Answer:
        asked.append(set(body))
        if "grammar" in body or "chat_template_kwargs" in body:
            return 400, {}, {"error": "unknown parameter"}
        return well_behaved(body, number)

    with misbehaving(answer) as url, load_url_judge(url) as judge:
        assert judge.judge(requests[:1])[0].state == "ok"
    assert "response_format" in asked[-1] and not asked[-1] & {"grammar", "chat_template_kwargs"}


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://127.0.0.1:1", "cannot be reached"),
        ("ftp://host", "no address of a server"),
        ("localhost:8000", "no address of a server"),
        ("http://me:secret@host/v1", "must hold no key or password"),
        ("http://host/v1?key=secret", "must hold no key or password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str, complaint: str, quick: None) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        load_url_judge(url, timeout=2)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_server_of_several_models_needs_the_name_of_one(quick: None) -> None:
    with misbehaving(well_behaved, models=("tiny", "large")) as url:
        with pytest.raises(RequestError, match="serves tiny, large: name one with --vlm-model"):
            load_url_judge(url)
        with pytest.raises(RequestError, match="does not serve 'huge' but tiny, large"):
            load_url_judge(url, model="huge")
        with load_url_judge(url, model="large") as judge:
            assert judge.name == "large"


def test_no_redirect_takes_the_key_elsewhere(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-4711")
    reached: list[str] = []

    def elsewhere(_: dict[str, Any], __: int) -> Answer:
        reached.append("!")
        return completion("{}")

    with (
        misbehaving(elsewhere) as other,
        misbehaving(lambda *_: (302, {"Location": f"{other}/chat/completions"}, b"")) as url,
        pytest.raises(RequestError, match="302"),
    ):
        load_url_judge(url)
    assert not reached


@pytest.mark.parametrize("key", ["secret-4711\n", "secret-4711\r\nX-Other: 1", "secret-4711\x7f", "secret-4711é"])
def test_a_key_that_no_header_may_hold_is_refused_without_being_shown(
    key: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with misbehaving(well_behaved) as url, pytest.raises(RequestError, match=f"{KEY_VARIABLE} holds a line") as caught:
        load_url_judge(url)
    assert "4711" not in str(caught.value)


def test_an_error_whose_words_never_come_keeps_its_status(quick: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\nno")
                time.sleep(1)

        pool.submit(answer)
        with pytest.raises(RequestError, match=f"answers 401: Unauthorized; put a valid key into {KEY_VARIABLE}"):
            load_url_judge(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3)


SHAPES: list[Any] = [
    {"choices": {"a": 1}},
    {"choices": 5},
    {"choices": [{"message": "words"}]},
    {"choices": [{"message": {"content": "{}"}, "logprobs": [1]}]},
    {"choices": [{"message": {"content": "{}"}, "logprobs": {"content": [None, "a"]}}]},
    b"[" * 200_000,
    ["nothing"],
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_a_reply_of_another_shape_is_refused_at_first_and_a_failed_picture_later(
    shape: Any, requests: list[JudgeRequest], quick: None
) -> None:
    with misbehaving(lambda body, number: (200, {}, shape)) as url, pytest.raises(RequestError):
        load_url_judge(url, timeout=5)

    def answer(body: dict[str, Any], number: int) -> Answer:
        return well_behaved(body, number) if number == 0 else (200, {}, shape)

    with misbehaving(answer) as url, load_url_judge(url, timeout=5) as judge:
        replies = judge.judge(requests[:2])
    assert [(reply.state, reply.score) for reply in replies] == [("failed", None)] * 2
    assert all(reply.reason for reply in replies)


def test_json_nested_without_end_is_no_reply(requests: list[JudgeRequest], quick: None) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        return well_behaved(body, number) if number == 0 else completion('{"a":' * 20_000 + "}" * 20_000)

    with misbehaving(answer) as url, load_url_judge(url, timeout=5) as judge:
        reply = judge.judge(requests[:1])[0]
    assert reply.state == "failed" and "no JSON" in (reply.reason or "")


@pytest.mark.parametrize("logprob", [float("nan"), float("inf"), 1000.0])
def test_a_log_probability_that_is_none_is_never_a_score(
    logprob: float, requests: list[JudgeRequest], quick: None
) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        status, headers, reply = well_behaved(body, number)
        words = reply["choices"][0]["message"]["content"]
        places = [{"token": token, "top_logprobs": [{"token": token, "logprob": logprob}]} for token in words]
        reply["choices"][0]["logprobs"] = {"content": places} if number > 0 else None
        return status, headers, reply

    with misbehaving(answer) as url, load_url_judge(url, timeout=5) as judge:
        reply = judge.judge(requests[:1])[0]
    assert reply.state == "failed" and reply.score is None


@pytest.mark.parametrize(
    "listed", [{"data": None}, {"data": 5}, {"data": [5, None, "idx"]}, {"data": {"id": 1}}, "none"]
)
def test_a_list_of_models_of_another_shape_names_no_model(listed: Any) -> None:
    with misbehaving(well_behaved, listed=listed) as url, pytest.raises(RequestError, match="no model"):
        load_url_judge(url, timeout=5)


def test_a_reply_that_drips_is_cut_at_the_time_limit(requests: list[JudgeRequest], quick: None) -> None:
    def drip(server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    time.sleep(0.05)
                    try:
                        client.sendall(b" ")
                    except OSError:
                        break

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(drip, server)
        client = Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.5, retries=0, pause=0.01)
        started = time.monotonic()
        with pytest.raises(UnreachableError, match=r"within 0\.5 s"):
            client.get("models")
        assert time.monotonic() - started < 3
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("repeats", [False, True])
def test_a_llama_server_is_given_each_reply_up_to_what_the_judge_decides(
    repeats: bool, requests: list[JudgeRequest]
) -> None:
    asked: list[tuple[str, str]] = []
    given = {"description": "A cow.", "justification": "It is seen."}

    def answer(body: dict[str, Any], _: int) -> Answer:
        question, reply = body["messages"]
        begun, grammar = reply["content"], body["grammar"].splitlines()[0]
        asked.append((begun, grammar))
        assert reply["role"] == "assistant" and body["continue_final_message"] and not body["add_generation_prompt"]
        assert question["content"][0]["text"].endswith("\n") and question["content"][-1]["text"].startswith("\n")
        if not begun.endswith('"score":'):
            text = next(text for name, text in given.items() if begun.endswith(f'"{name}":"')) + '"'
            return completion(begun * repeats + text, logprobs={"content": [{"token": text, "top_logprobs": []}]})
        digits = [{"token": str(digit), "logprob": np.log(share)} for digit, share in ((4, 0.75), (2, 0.25))]
        given_back = [{"token": begun, "top_logprobs": []}] * repeats
        return completion(
            begun * repeats + "4", logprobs={"content": [*given_back, {"token": "4", "top_logprobs": digits}]}
        )

    with misbehaving(answer, continues=True) as url, load_url_judge(url, concurrency=1) as judge:
        asked.clear()
        reply = judge.judge(requests[:1])[0]
    assert asked == [
        ('{"description":"', "root ::= rest"),
        ('{"score":', "root ::= score"),
        ('{"score":4,"justification":"', "root ::= rest"),
        ('{"score":', "root ::= score"),
    ]
    assert reply.state == "ok" and reply.distribution == pytest.approx((0, 0, 0.25, 0, 0.75, 0))
    assert {"description": reply.description, "justification": reply.justification} == given


def test_a_server_that_adds_a_turn_to_what_was_begun_is_asked_for_whole_replies(requests: list[JudgeRequest]) -> None:
    prints = set()
    for continues in (False, None):
        with misbehaving(well_behaved, continues=continues) as url, load_url_judge(url) as judge:
            assert judge.judge(requests[:1])[0].state == "ok"
            prints.add(judge._dialect.form)
    assert prints == {"grammar"}


def test_a_reply_that_does_not_end_behind_its_beginning_is_failed(requests: list[JudgeRequest]) -> None:
    def answer(body: dict[str, Any], _: int) -> Answer:
        begun = body["messages"][-1]["content"]
        if begun.endswith('"score":'):
            return completion("4", logprobs={"content": []})
        return completion("and so on", finish_reason="length")

    with misbehaving(answer, continues=True) as url, load_url_judge(url) as judge:
        reply = judge.judge(requests[:1])[0]
    assert (reply.state, reply.reason) == ("failed", "the reply did not end")
