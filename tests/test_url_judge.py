"""A judge behind a server: llama-cpp-python's own one with the demo judge, and a server that misbehaves on purpose."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import RequestError
from core.judge.client import KEY_VARIABLE
from core.judge.loading import load_judge
from core.judge.url import UrlJudge, load_url_judge
from core.records import Judgement, JudgeRequest
from data.demo import judge_pictures as pictures
from tests.support.judge_server import judge_server, with_typed_template

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
MMPROJ = DEMO / "judge-mmproj.gguf"
COUNT = 8


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    pool = pictures.draw_pool(COUNT, seed=41)
    rng = np.random.default_rng(41)
    seen = [pictures.sample(pool, index, rng) for index in range(COUNT)]
    return [JudgeRequest(f"image-{index}", sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_typed_template(DEMO / "judge.gguf", tmp_path_factory.mktemp("typed") / "judge.gguf")


@pytest.fixture(scope="module")
def address(typed: Path) -> Iterator[str]:
    with judge_server(typed, MMPROJ) as url:
        yield url


@pytest.fixture(scope="module")
def served(address: str) -> Iterator[UrlJudge]:
    with load_url_judge(address, concurrency=3, timeout=120) as judge:
        yield judge


@pytest.fixture(scope="module")
def judgements(served: UrlJudge, requests: list[JudgeRequest]) -> list[Judgement]:
    return served.judge(requests)


def test_a_real_server_gives_words_and_distributions(
    judgements: list[Judgement], requests: list[JudgeRequest], served: UrlJudge
) -> None:
    assert (served.name, served.protocol, served.note, served.limits) == ("demo", "calibrated", None, None)
    assert [judgement.image_id for judgement in judgements] == [request.image_id for request in requests]
    good = [judgement for judgement in judgements if judgement.state == "ok"]
    assert len(good) > COUNT // 2
    for judgement in good:
        assert judgement.description and judgement.justification and judgement.distribution and judgement.score_entropy
        assert sum(judgement.distribution) == pytest.approx(1.0) and 0 < judgement.score_entropy <= np.log(6)
        assert judgement.score == pytest.approx(np.dot(judgement.distribution, range(6)))


def test_a_served_judge_scores_like_the_same_judge_in_process(
    judgements: list[Judgement], requests: list[JudgeRequest]
) -> None:
    with load_judge(vlm=DEMO / "judge.gguf", mmproj=MMPROJ) as judge:
        here = judge.judge(requests)
    pairs = [
        (served.score, other.score)
        for served, other in zip(judgements, here, strict=True)
        if served.score is not None and other.score is not None
    ]
    assert len(pairs) > COUNT // 2
    assert np.mean([abs(mine - other) for mine, other in pairs]) < 0.5


def test_replies_do_not_depend_on_what_else_is_under_way(
    judgements: list[Judgement], requests: list[JudgeRequest], address: str
) -> None:
    with load_url_judge(address, concurrency=1, timeout=120) as judge:
        alone = judge.judge(requests[::-1])[::-1]
    assert [(judgement.description, judgement.distribution) for judgement in alone] == [
        (judgement.description, judgement.distribution) for judgement in judgements
    ]


def test_protocol_paper_through_a_server(address: str, requests: list[JudgeRequest]) -> None:
    with load_url_judge(address, protocol="paper", timeout=120) as judge:
        replies = judge.judge(requests[:3])
    for reply in replies:
        assert (reply.state == "ok") == (reply.distribution is not None)
        assert reply.distribution is None or sorted(reply.distribution) == [0, 0, 0, 0, 0, 1]


def test_a_server_without_log_probabilities_gives_the_digit_and_says_so(
    typed: Path, requests: list[JudgeRequest], served: UrlJudge
) -> None:
    with judge_server(typed, MMPROJ, logprobs=False) as url, load_url_judge(url, timeout=120) as judge:
        assert judge.note is None and judge.limits is not None and "no log-probabilities" in judge.limits
        assert judge.fingerprint != served.fingerprint
        replies = [reply for reply in judge.judge(requests[:3]) if reply.state == "ok"]
    assert replies
    for reply in replies:  # two rubric orders: one digit, or half on each of two
        assert reply.distribution is not None and set(reply.distribution) <= {0.0, 0.5, 1.0}


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    typed: Path,
    requests: list[JudgeRequest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with judge_server(typed, MMPROJ, key="secret-4711") as url:
        monkeypatch.setenv(KEY_VARIABLE, "wrong-0815")
        with pytest.raises(RequestError, match=f"401.*{KEY_VARIABLE}") as caught:
            load_url_judge(url, timeout=60)
        monkeypatch.setenv(KEY_VARIABLE, "secret-4711")
        with load_url_judge(url, timeout=60) as judge:
            reply = judge.judge(requests[:1])[0]
            held = [vars(part) for part in vars(judge).values() if hasattr(part, "__dict__")]
            shown = f"{vars(judge)} {held} {reply} {caught.value} {caplog.text} {capfd.readouterr()}"
    assert reply.state in ("ok", "abstained")
    assert "4711" not in shown and "0815" not in shown


Answer = tuple[int, dict[str, str], Any]


def completion(content: str, **more: Any) -> Answer:
    return 200, {}, {"choices": [{"message": {"content": content}, "finish_reason": "stop", **more}]}


@contextmanager
def misbehaving(answer: Callable[[dict[str, Any], int], Answer], models: tuple[str, ...] = ("tiny",)) -> Iterator[str]:
    """A server whose n-th reply to a question is `answer(body, n)`."""
    count, lock = iter(range(10**6)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {}, {"data": [{"id": name} for name in models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = next(count)
            self.reply(*answer(body, number))

        def reply(self, status: int, headers: dict[str, str], value: Any) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


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
