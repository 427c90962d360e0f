"""Starts the servers that are measured, each on the servers' core, and stops them at the end."""

import glob
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from databases import Sqlite

HERE = pathlib.Path(__file__).parent
PATH = "/api/v1/appointments/mega-stats?tenantId=default-tenant&tz=America/Recife"
SECRET = "benchmark-0123456789-abcdefghijk"
SERVER_CORE, LOAD_CORE = "0", "1"


def fail(reason: str) -> None:
    sys.exit(f"scripts/bench: {reason}")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def get(port: int, path: str, headers: dict[str, str] | None = None):
    """Returns the response to a GET, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def wait_for(what: str, is_so) -> None:
    """Waits until `is_so()`; a refused connection means that it is not."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if is_so():
                return
        except OSError:
            pass
        time.sleep(0.02)
    fail(f"{what} did not come in a minute")


class Service:
    """A running process of the service."""

    def __init__(self, port: int, process: subprocess.Popen):
        self.port = port
        self.process = process

    def metric(self, name: str) -> float:
        """The value of the metric whose name and labels are `name`."""
        _, body = get(self.port, "/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE)
        return float(found[1])

    def resident(self) -> int:
        """The bytes of memory that are resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Servers:
    """All that were started. Leaving `with` stops them, and removes their folder unless something failed."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="megastats-bench."))
        # PostgreSQL and nginx's workers run as others if this is root.
        self.folder.chmod(0o711)
        self.processes: list[subprocess.Popen] = []
        return self

    def __exit__(self, error, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()
        if error:
            print(f"scripts/bench: the servers' logs are in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder)

    def start(self, name: str, command: list[str], user: str | None = None, **environment: str):
        """Starts a server on the servers' core; what it prints goes to `name`.log."""
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                ["taskset", "-c", SERVER_CORE, *command],
                env=os.environ | environment,
                cwd=self.folder,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def service(self, name: str, environment: dict[str, str] | None = None, **settings) -> Service:
        """Starts the service with `settings`, such as `CACHE__BACKEND`, and waits until it is ready."""
        port = free_port()
        settings = {
            "SERVER__PORT": port,
            "SERVER__WORKERS": 1,
            "SERVER__REQUEST_TIMEOUT_SECONDS": 300,
            "DATABASE__URL": f"sqlite://{name}.db",
            # None of the 512 connections is turned away.
            "DATABASE__POOL_QUEUE": 10_000,
            "DATABASE__POOL_WAIT_MS": 60_000,
            "CACHE__TTL_SECONDS": 3600,
            "CACHE__REDIS__FENCE_SECONDS": 600,
        } | settings
        variables = {f"MEGASTATS__{key}": str(value) for key, value in settings.items()}
        process = self.start(name, [os.environ["MEGASTATS"]], **(environment or {}) | variables)
        wait_for(f"the service {name}", lambda: get(port, "/readyz")[0].status == 200)
        return Service(port, process)

    def limit(self, name: str, like: Service, redis_url: str | None = None) -> int:
        """Starts the handler that sends what `like` answers for a HIT; returns its port."""
        wait_for("a HIT", lambda: get(like.port, PATH)[0].getheader("x-cache") == "HIT")
        response, body = get(like.port, PATH)
        made_by_actix = {"content-length", "date", "connection"}
        headers = {
            header: value
            for header, value in response.getheaders()
            if header.lower() not in made_by_actix
        }
        answer = self.folder / f"{name}.json"
        answer.write_text(json.dumps({"headers": headers, "body": body.decode()}))
        port = free_port()
        self.start(name, [os.environ["LIMIT"], str(port), str(answer), *filter(None, [redis_url])])
        return port

    def filled_in(self, template: str, **words) -> str:
        """The path of a copy of `template` in which each of `words` is replaced."""
        text = (HERE / template).read_text()
        for word, value in words.items():
            text = re.sub(rf"\b{word}\b", str(value), text)
        copy = self.folder / template
        copy.write_text(text)
        return str(copy)

    def nginx(self, service: Service) -> int:
        port = free_port()
        words = {"FOLDER": self.folder, "PORT": port, "SERVICE": service.port}
        user = "user root;" if os.geteuid() == 0 else ""
        self.start("nginx", ["nginx", "-c", self.filled_in("nginx.conf", USER=user, **words)])
        return port

    def varnish(self, service: Service) -> int:
        port = free_port()
        config = self.filled_in("varnish.vcl", SERVICE=service.port)
        command = ["varnishd", "-F", "-j", "none", "-n", str(self.folder / "varnish"), "-f", config]
        self.start("varnish", [*command, "-a", f"127.0.0.1:{port}", "-s", "malloc,64m"])
        return port

    def seed(self, database: Sqlite) -> int:
        port = free_port()
        command = [os.environ["PYTHON"], "-m", "uvicorn", "seed:app", "--log-level", "warning"]
        command += ["--app-dir", str(HERE), "--port", str(port)]
        self.start("seed", command, DATABASE=str(database.file), TTL_SECONDS="3600")
        return port

    def redis(self) -> str:
        port = free_port()
        self.start("redis", ["redis-server", "--port", str(port), "--save", ""])
        wait_for("Redis", lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
        return f"redis://127.0.0.1:{port}"

    def postgresql(self) -> int:
        """Starts PostgreSQL with its defaults; returns its port."""
        folder = self.folder / "postgresql"
        folder.mkdir()
        user = None
        if os.geteuid() == 0:
            user = "postgres"
            shutil.chown(folder, user)
        initdb = [program("initdb"), "-D", str(folder), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale", "C"],
            user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )
        port = free_port()
        command = [program("postgres"), "-D", str(folder), "-p", str(port), "-k", ""]
        process = self.start("postgresql", command, user=user)
        # SIGINT is its way not to wait for its clients.
        process.terminate = lambda: process.send_signal(signal.SIGINT)
        is_ready = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for("PostgreSQL", lambda: subprocess.run(is_ready).returncode == 0)
        return port


def program(name: str) -> str:
    """The path of a program of PostgreSQL, which Debian keeps out of the path."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name) or fail(f"{name} is missing")
