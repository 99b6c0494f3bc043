"""Serve a compact model over HTTP with the standard library alone, and measure it under load.

    python examples/http_service.py                      # train, serve, measure, print and end
    python examples/http_service.py FOLDER --port 8000   # serve the pair of files in a folder

The service needs NumPy and the two files of `sklearn_kd.export.write_pair`: the model and
`compact_model.py`. It listens on the loopback address only. A row is POSTed to `/predict` as a JSON
object, and a list of objects are many rows:

    curl -d '{"age": 39, "job": "cook"}' http://127.0.0.1:8000/predict

The answer has the label and the probabilities of a classifier, or the prediction of a regressor,
with its quantiles and their levels if it has learned them. A row that the model does not take gives
the status 400 with the error, which names the column. The service is bounded: in the number of
connections that it answers at once (others get the status 503), in the bytes of a request, in the
seconds that it waits for one, and in the seconds that a connection lives.

Without a folder, the script distills a forest on a table that is bundled with scikit-learn, starts
the service in another process and sends rows from several threads. Each answer says in the header
`Server-Timing` how long the service took to read the JSON and to predict. The rest of the time is
HTTP, both processes and the threads, which share the cores. The script ends by itself in less than
30 seconds.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

ADDRESS = "127.0.0.1"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#: Bounds of the service.
LIMITS = {"n_workers": 16, "max_bytes": 2**18, "wait_seconds": 5.0, "connection_seconds": 60.0}
#: Digits of a length that are read, and seconds in which a client may still send after the answer.
MOST_DIGITS, DRAIN_SECONDS = 20, 1.0
#: Connections that are told at a time that all threads are busy. More of them are closed.
MOST_REFUSALS = 16
#: Clients, requests of each and rows of a request that are measured.
LOADS = ((1, 1000, 1), (4, 500, 1), (16, 125, 1), (1, 100, 100))
MOST_SECONDS = 25


class RefusedError(Exception):
    """A request that is answered by an error."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def answers_of(model, rows, is_one):
    """Return what JSON can hold of the answers of a model to one row, or to several."""
    one = "_one" if is_one else ""
    if hasattr(model, "classes_"):
        proba = getattr(model, f"predict_proba{one}")(rows)
        labels = model.classes_[proba.argmax(axis=-1)].tolist()
        return {"label" if is_one else "labels": labels, "probabilities": proba.tolist()}
    found = getattr(model, f"predict{one}")(rows)
    found = found if isinstance(found, float) else found.tolist()  # several rows or targets
    answer = {"prediction" if is_one else "predictions": found}
    if hasattr(model, "quantiles_"):
        quantiles = getattr(model, f"predict_quantiles{one}")(rows)
        answer |= {"levels": model.quantiles_.tolist(), "quantiles": quantiles.tolist()}
    return answer


class Handler(BaseHTTPRequestHandler):
    """Answers POST requests to `/predict`."""

    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer are sent together

    def setup(self):
        """Set the time that reading may take."""
        self.timeout = self.server.limits.wait_seconds
        super().setup()

    def do_POST(self):
        """Predict the rows of a request."""
        try:
            body = self._body()
            if self.path != "/predict":
                raise RefusedError(404, "POST rows to /predict")
            answer, times = self._predicted(body)
        except RefusedError as error:
            # what was not read would be taken for the next request
            self._send(error.status, {"error": str(error)}, close=error.status != 400)
        except TimeoutError:
            self._send(408, {"error": "the request has not arrived in time"}, close=True)
        else:
            self._send(200, answer, times)

    def handle_expect_100(self):
        """Tell a client that waits for it to send the body."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def _body(self):
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise RefusedError(411, "a request has a Content-Length")
        if len(length) > MOST_DIGITS or int(length) > self.server.limits.max_bytes:
            raise RefusedError(413, f"a request has at most {self.server.limits.max_bytes} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise TimeoutError
        return body

    def _predicted(self, body):
        start = time.perf_counter()
        try:
            rows = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, f"the body is no JSON: {error}") from error
        is_one = isinstance(rows, dict)
        if not is_one and not (isinstance(rows, list) and all(isinstance(r, dict) for r in rows)):
            raise RefusedError(400, "the body is an object of cells by column, or a list of them")
        read = time.perf_counter()
        try:
            answer = answers_of(self.server.model, rows, is_one)
        except (TypeError, ValueError) as error:  # of a cell or a name, which it names
            raise RefusedError(400, str(error)) from error
        done = time.perf_counter()
        return answer, {"json": read - start, "model": done - read}

    def _send(self, status, answer, times=None, *, close=False):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if times:
            parts = (f"{name};dur={1000 * seconds:.6f}" for name, seconds in times.items())
            self.send_header("Server-Timing", ", ".join(parts))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection |= close

    def log_message(self, *args):
        """Write no line for each request."""


class Service(ThreadingHTTPServer):
    """A server of a model with a bounded number of connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, model, port=0, **limits):
        self.model, self.limits = model, SimpleNamespace(**{**LIMITS, **limits})
        self.slots = threading.BoundedSemaphore(self.limits.n_workers)
        self.refusals = threading.BoundedSemaphore(MOST_REFUSALS)
        super().__init__((ADDRESS, port), Handler)

    def process_request(self, request, client_address):
        """Start a thread for a connection, or refuse it where all are busy."""
        if self.slots.acquire(blocking=False):
            slots, answer = self.slots, self._answer
        elif self.refusals.acquire(blocking=False):
            slots, answer = self.refusals, self._refuse
        else:
            self.close_request(request)
            return
        try:
            threading.Thread(target=answer, args=(request, client_address), daemon=True).start()
        except BaseException:
            slots.release()
            raise

    def _refuse(self, request, client_address):
        """Answer that all threads are busy."""
        try:
            request.settimeout(DRAIN_SECONDS)
            with suppress(OSError):
                request.sendall(BUSY)
            self.shutdown_request(request)
        finally:
            self.refusals.release()

    def _answer(self, request, client_address):
        """Answer a connection, for a bounded time."""
        end = threading.Timer(self.limits.connection_seconds, _hang_up, [request])
        end.daemon = True
        end.start()
        try:
            self.process_request_thread(request, client_address)
        finally:
            end.cancel()
            self.slots.release()

    def shutdown_request(self, request):
        """Close a connection after reading what the client still sends, for a bounded time.

        A connection that is closed with unread bytes is reset, and the answer may be lost.
        """
        end = time.monotonic() + DRAIN_SECONDS
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(DRAIN_SECONDS)
            while request.recv(2**16) and time.monotonic() < end:
                pass
        self.close_request(request)

    def handle_error(self, request, client_address):
        """Write no traceback where the client has closed the connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _hang_up(request):
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def serve(folder, port, seconds):
    """Serve the pair of files in a folder, for some seconds or until it is stopped."""
    sys.path.insert(0, str(folder))
    from compact_model import CompactModel

    service = Service(CompactModel.load(Path(folder) / "model.skdc"), port)
    if seconds is not None:
        end = threading.Timer(seconds, service.shutdown)
        end.daemon = True
        end.start()
    print(service.server_address[1], flush=True)
    with service, suppress(KeyboardInterrupt):
        service.serve_forever()


@contextmanager
def running(folder):
    """Run the service in another process, and yield its port."""
    command = [sys.executable, __file__, str(folder), "--seconds", str(MOST_SECONDS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def ask(connection, rows):
    """Return status, answer and the times of the service in seconds."""
    connection.request("POST", "/predict", json.dumps(rows))
    response = connection.getresponse()
    answer = json.loads(response.read() or "{}")
    parts = (part.split(";dur=") for part in response.headers.get("Server-Timing", "").split(", "))
    times = {part[0]: float(part[1]) / 1000 for part in parts if len(part) == 2}
    return response.status, answer, times


def measured(port, rows, n_clients, n_requests, n_rows):
    """Return what a load has taken: seconds of each request by part, and of all together."""
    lines, barrier = [], threading.Barrier(n_clients + 1)

    def client(number):
        connection, own = HTTPConnection(ADDRESS, port, timeout=10), []
        connection.connect()
        barrier.wait()
        for i in range(n_requests):
            first = number * n_requests + i
            sent = [rows[(first + j) % len(rows)] for j in range(n_rows)]
            start = time.perf_counter()
            status, _, times = ask(connection, sent[0] if n_rows == 1 else sent)
            seconds = time.perf_counter() - start
            if status != 200:
                raise RuntimeError(f"the service has answered {status}")
            own.append({"all": seconds, **times})
        connection.close()
        lines.extend(own)

    threads = [threading.Thread(target=client, args=(k,), daemon=True) for k in range(n_clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join(timeout=MOST_SECONDS)
    return lines, time.perf_counter() - start


def percentile(values, share):
    """Return the value that a share of the values do not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def print_load(port, rows):
    """Measure the service under several loads, and print a line for each."""
    heads = ("clients", "rows", "requests", "p50 ms", "p99 ms", "requests/s", "rows/s")
    heads += ("json us", "model us", "other us")
    print("  ".join(f"{head:>10}" for head in heads))
    for n_clients, n_requests, n_rows in LOADS:
        lines, seconds = measured(port, rows, n_clients, n_requests, n_rows)
        of_all, of_json, of_model = (
            percentile([line[name] for line in lines], 0.5) for name in ("all", "json", "model")
        )
        cells = [f"{n_clients}", f"{n_rows}", f"{len(lines)}", f"{1e3 * of_all:.2f}"]
        cells.append(f"{1e3 * percentile([line['all'] for line in lines], 0.99):.2f}")
        cells += [f"{len(lines) / seconds:,.0f}", f"{n_rows * len(lines) / seconds:,.0f}"]
        of_rest = of_all - of_json - of_model
        cells += [f"{1e6 * part:,.0f}" for part in (of_json, of_model, of_rest)]
        print("  ".join(f"{cell:>10}" for cell in cells))


def demonstrate():
    """Distill a model, serve it in another process, and measure it."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    from sklearn_kd import DistilledClassifier, TwoLayerPGDClassifier
    from sklearn_kd.export import write_pair

    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    names = load_breast_cancer().target_names[y]
    fixed = {"alpha": 0.5, "temperature": 1.0, "augmentation": None, "random_state": 0}
    model = DistilledClassifier(RandomForestClassifier(100), TwoLayerPGDClassifier(8), **fixed)
    rows = X.to_dict("records")
    with tempfile.TemporaryDirectory() as folder:
        write_pair(model.fit(X, names), folder)
        with running(folder) as port:
            connection = HTTPConnection(ADDRESS, port, timeout=10)
            print("a row:", *ask(connection, rows[0])[:2])
            print("a bad row:", *ask(connection, {**rows[0], "mean area": "large"})[:2])
            connection.close()
            print_load(port, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="with model.skdc and compact_model.py")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    parser.add_argument("--seconds", type=float, help="after which the service ends")
    args = parser.parse_args()
    if args.folder is None:
        demonstrate()
    else:
        serve(args.folder, args.port, args.seconds)


if __name__ == "__main__":
    main()
