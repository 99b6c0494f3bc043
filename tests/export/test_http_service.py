"""The HTTP service of the examples: its answers, its errors and its bounds."""

import importlib.util
import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from sklearn_kd.export import compact
from tests._helpers.exported_models import fitted, table

EXAMPLE = Path(__file__).parents[2] / "examples" / "http_service.py"
ROWS = [
    {name: None if cell != cell else cell for name, cell in row.items()}
    for row in json.loads(table()[:20].to_json(orient="records"))
]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("http_service", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def served(example, model=None, **limits):
    """Yield the service of a model, which runs in a thread."""
    model = fitted("network") if model is None else model
    with example.Service(compact(model), **limits) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


@contextmanager
def connected(service):
    connection = HTTPConnection(*service.server_address, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def test_answers_are_those_of_the_model(example):
    with served(example) as service, connected(service) as connection:
        assert service.server_address[0] == "127.0.0.1"
        expected, labels = service.model.predict_proba(ROWS), service.model.predict(ROWS)
        status, answer, times = example.ask(connection, ROWS)
        assert (status, answer["labels"]) == (200, labels.tolist())
        np.testing.assert_array_equal(answer["probabilities"], expected)
        assert set(times) == {"json", "model"}
        for row, proba in zip(ROWS, expected, strict=True):  # on the same connection
            status, answer, _ = example.ask(connection, row)
            assert status == 200
            np.testing.assert_allclose(answer["probabilities"], proba, atol=1e-12)
        lines, seconds = example.measured(service.server_address[1], ROWS, 3, 5, 2)
        assert len(lines) == 15
        assert 0 < max(line["model"] for line in lines) < seconds


@pytest.mark.parametrize("n_targets", [1, 2])
@pytest.mark.parametrize("name", ["linear regression", "quantiles"])
def test_answers_of_regressors(example, name, n_targets):
    model = fitted(name, n_targets, "numbers")
    with served(example, model) as service, connected(service) as connection:
        own = service.model
        expected = {"prediction": own.predict(ROWS)}
        if name == "quantiles":
            expected["quantiles"] = own.predict_quantiles(ROWS)
        status, answer, _ = example.ask(connection, ROWS)
        one_status, one, _ = example.ask(connection, ROWS[0])
        assert (status, one_status) == (200, 200)
        for found in (answer, one):
            levels = found.pop("levels", None)
            assert levels == (own.quantiles_.tolist() if name == "quantiles" else None)
        answer["prediction"] = answer.pop("predictions")
        assert set(answer) == set(one) == set(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(answer[key], values)
            np.testing.assert_allclose(one[key], values[0], rtol=1e-12)
        assert isinstance(one["prediction"], float) == (n_targets == 1)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (json.dumps({**ROWS[0], "size": "large"}), "column 'size' takes numbers"),
        (json.dumps([ROWS[0], {**ROWS[1], "color": 3}]), "column 'color' takes text"),
        (json.dumps({"size": 1.0}), "lacks"),
        ("[1, 2", "no JSON"),
        ("[" * 10**5, "no JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "no JSON"),
        ("3", "an object of cells"),
        ("[[1.0]]", "an object of cells"),
    ],
)
def test_bad_rows_are_errors_after_which_the_connection_lives(example, body, match):
    with served(example) as service, connected(service) as connection:
        connection.request("POST", "/predict", body)
        response = connection.getresponse()
        assert response.status == 400
        assert match in json.loads(response.read())["error"]
        assert example.ask(connection, ROWS[0])[0] == 200


def raw_answer(service, request):
    """Return what the service answers to bytes, until it closes the connection."""
    with socket.create_connection(service.server_address, timeout=5) as connection:
        connection.sendall(request)
        found = b""
        while part := connection.recv(4096):
            found += part
    return found.decode()


def test_requests_are_bounded(example):
    with served(example, max_bytes=100, wait_seconds=0.2) as service:
        for head, status in [
            ("Content-Length: 101", 413),
            ("Content-Length: " + 5000 * "9", 413),
            ("Content-Length: -1", 411),
            ("Host: here", 411),
            ("Transfer-Encoding: chunked", 411),
            ("Content-Length: 50", 408),  # and nothing follows
        ]:
            found = raw_answer(service, f"POST /predict HTTP/1.1\r\n{head}\r\n\r\n".encode())
            assert found.startswith(f"HTTP/1.1 {status} "), head
            assert "Connection: close" in found
        found = raw_answer(service, b"POST /other HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        assert found.startswith("HTTP/1.1 404 ")
        assert raw_answer(service, b"GET /predict HTTP/1.1\r\n\r\n").startswith("HTTP/1.1 501 ")
        assert raw_answer(service, b"POST /pre") == ""  # a request that never arrives


def test_a_client_that_still_sends_gets_the_error(example):
    with served(example, max_bytes=100) as service, connected(service) as connection:
        connection.request("POST", "/predict", b"x" * 10**7)
        assert connection.getresponse().status == 413


def test_a_client_that_waits_for_it_is_told_to_send(example):
    with served(example) as service:
        body = json.dumps(ROWS[0]).encode()
        head = "POST /predict HTTP/1.1\r\nExpect: 100-continue\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(service.server_address, timeout=2) as connection:
            connection.sendall(head.encode())
            assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_connections_are_bounded_in_number_and_time(example):
    with served(example, n_workers=1, connection_seconds=1.5) as service:
        with connected(service) as first:
            assert example.ask(first, ROWS[0])[0] == 200
            assert raw_answer(service, b"").startswith("HTTP/1.1 503 ")
            with connected(service) as refused:
                assert example.ask(refused, ROWS[0])[0] == 503
            assert first.sock.recv(1) == b""  # it has lived for a second and a half
        assert service.slots.acquire(timeout=5)  # its thread has ended
        service.slots.release()
        with connected(service) as second:
            assert example.ask(second, ROWS[0])[0] == 200


@pytest.mark.slow
def test_the_example_ends_by_itself():
    run = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "a bad row: 400" in run.stdout
    assert len(run.stdout.splitlines()) == 7
