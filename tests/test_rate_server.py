"""`pipeline.py rate` as a server: real processes on loopback, killed, asked twice, and asked by strangers."""

import signal
import socket
import sqlite3
import subprocess
import sys

import httpx
import pytest

from tests.conftest import ROOT
from tests.studies import HOSTILE, RateServer, listening, make_project, run_rate


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project")


@pytest.fixture
def server(project):
    with RateServer(project, "--raters", "3", "--judgements", "2") as server:
        yield server


def test_killed_server_loses_no_answer_and_goes_on_where_it_was(project):
    with RateServer(project, "--raters", "3", "--judgements", "2") as server:
        rater = server.codes[0]
        taken = []
        for answer in ("left", "tie", "right"):
            taken.append((server.shown(rater), answer))
            assert server.answer(rater, *taken[-1]).status_code == 200
            server.kill()
            server.start()
        assert server.codes[0] == rater
        shown = server.shown(rater)
        assert shown not in dict(taken)
        assert len(server.judgements()) == 3
        server.kill()
    database = sqlite3.connect(project / "reports" / "ratings.sqlite")
    rows = database.execute("SELECT token, answer FROM judgements")
    assert rows.fetchall() == taken


def test_served_on_loopback_alone(server):
    assert listening(server.port) == ["0100007F"]


def test_ctrl_c_and_sigterm_end_it_with_their_codes(project):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with RateServer(project) as server:
            assert server.kill(number) == code, server.log.read_text()
            assert "Traceback" not in server.log.read_text()


def test_page_says_when_a_rater_is_done_and_when_it_is_enough(server):
    def judge_all(rater):
        while (token := server.shown(rater)) is not None:
            assert server.answer(rater, token, "left").status_code == 200
        return httpx.get(f"{server.url}/rate", params={"rater": rater}).text

    results = f"{server.url}/results?key={server.key}"
    assert "Nobody has judged yet" in httpx.get(results).text
    assert "Other raters still\nhave some to judge" in judge_all(server.codes[0])
    assert "Not enough yet: 6 of 12 judgements" in httpx.get(results).text
    assert "It is enough: each of the 6 videos" in judge_all(server.codes[1])
    assert "It is enough: each of the 6 videos has 2 judgements" in httpx.get(results).text
    assert server.shown(server.codes[2]) is None


def test_raters_learn_neither_who_is_who_nor_the_results(server):
    shown = httpx.get(f"{server.url}/rate", params={"rater": server.codes[0]}).text
    for name in ("ours", "theirs", "/-video", server.key):
        assert name not in shown
    for key in ("", "guessed", server.codes[0]):
        for page in ("results", "results.csv"):
            answer = httpx.get(f"{server.url}/{page}", params={"key": key})
            assert answer.status_code == 403 and "ours" not in answer.text


def test_hostile_requests_change_nothing(server):
    one, other, _ = server.codes
    token, foreign = server.shown(one), server.shown(other)
    assert server.answer(one, token, "left").status_code == 200
    before = server.judgements()
    content = (server.folder / "reports" / "ratings.sqlite").read_bytes()
    refused = [
        server.answer(one, foreign, "left"),  # a foreign pair
        server.answer(one, token, "right"),  # a replay, changed
        server.answer(one, "0", "left"),
        server.answer("nobody", token, "left"),
        server.answer(one, "../../../etc/passwd", "left"),
        server.answer(one, "'; DROP TABLE judgements; --", "left"),
        server.answer(one, token, "a"),
        server.answer(one, "x" * 10**6, "left"),
        server.answer(other, foreign, "left", origin="http://evil.example"),  # another site's page
        server.answer(other, foreign, "left", host="evil.example"),  # a name that leads here
        httpx.post(f"{server.url}/answer", content=b"\xff{", headers={"content-type": "application/json"}),
        httpx.post(f"{server.url}/answer", data={"rater": other, "token": foreign, "answer": "left"}),
        httpx.put(f"{server.url}/answer", json={}),
    ]
    assert [answer.status_code // 100 for answer in refused] == [4] * len(refused)
    assert server.answer(one, token, "left").status_code == 200  # a replay, as it was
    assert server.judgements() == before
    assert (server.folder / "reports" / "ratings.sqlite").read_bytes() == content


@pytest.mark.parametrize(
    "path",
    [
        "/picture/../../params.yaml/left",
        "/picture/..%2f..%2fparams.yaml/left",
        "/picture/%2e%2e/left",
        "/picture/x/%2e%2e%2fright",
        "//etc/passwd",
        "/style.css/../../../../etc/passwd",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_address_leads_to_a_file(server, path):
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())  # as it is, not normalised
    status = connection.makefile("rb").readline().decode()
    assert status.split()[1] in ("404", "422")


def test_labels_and_codes_are_text_and_never_markup(server):
    for rater in server.codes[:2]:
        while (token := server.shown(rater)) is not None:
            server.answer(rater, token, "tie")
    results = httpx.get(f"{server.url}/results", params={"key": server.key})
    assert "&lt;img src=x onerror=" in results.text and "{{ 7 * 7 }}" in results.text
    assert "<img" not in results.text
    assert HOSTILE in {judgement["label"] for judgement in server.judgements()}
    wrong = httpx.get(f"{server.url}/rate", params={"rater": "<script>alert(1)</script>"})
    assert wrong.status_code == 404 and "<script>alert" not in wrong.text
    for answer in (results, wrong):
        assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_csv_of_the_answers_is_written_without_a_server(project):
    with RateServer(project, "--raters", "2", "--judgements", "2") as server:
        for rater in server.codes:
            while (token := server.shown(rater)) is not None:
                server.answer(rater, token, "tie")
        exported = httpx.get(f"{server.url}/results.csv", params={"key": server.key}).text
    finished = run_rate(project, "ours", "theirs", "--raters", "2", "--judgements", "2", "--csv", "out.csv")
    assert finished.returncode == 0, finished.stderr
    assert (project / "out.csv").read_bytes().decode() == exported
    assert finished.stdout.splitlines()[:2] == ["out.csv: 12 judgements", "Neither is preferred beyond doubt"]
    assert "100.0% too close to tell (95%: " in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ours", "nowhere"], "nowhere is no folder of predictions"),
        (["ours", "theirs", "--judgements", "9", "--raters", "8"], "--judgements 9 of every video need as"),
        (["ours", "theirs", "--videos", "0"], "--videos must be greater than 0"),
        (["ours", "theirs", "--host", "203.0.113.1"], "nothing can be served at 203.0.113.1, port 8500"),
        (["ours", "theirs", "--answers", "params.yaml"], "params.yaml is no file of answers"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(project, arguments, says):
    before = (project / "params.yaml").read_bytes()
    finished = run_rate(project, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"pipeline.py: {says}") and finished.stderr.count("\n") == 1
    assert (project / "params.yaml").read_bytes() == before


def test_taken_port_is_named(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run_rate(project, "ours", "theirs", "--port", str(port))
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"pipeline.py: nothing can be served at 127.0.0.1, port {port}: ")


def test_answers_to_other_predictions_are_not_mixed_in(project):
    with RateServer(project, "--raters", "1", "--judgements", "1") as server:
        server.answer(server.codes[0], server.shown(server.codes[0]), "left")
    finished = run_rate(project, "theirs", "ours", "--csv", "out.csv")
    assert finished.returncode == 1
    assert "ratings.sqlite holds the answers to another comparison" in finished.stderr
    assert not (project / "out.csv").exists()


def test_help_says_what_an_operator_needs():
    command = [sys.executable, ROOT / "pipeline.py", "rate", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for text in ("--answers", "--judgements", "--raters", "--csv", "<window id>.npy", "exit codes"):
        assert text in said
