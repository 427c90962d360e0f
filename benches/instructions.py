"""Instructions that the service executes for a HIT and for a MISS, counted by callgrind.

They do not depend on how fast or busy the machine is. `instructions.json` has those of a release build, and
the compiler that they hold for. (A build for tests would not do: what makes a release build faster may cost
it more instructions.) They also depend on the C library and on what the processor can do, by which memcpy
and others choose their code; valgrind pretends to be a processor with AVX2 and without AVX-512 on any
machine that has AVX2.

    instructions.py [--keep]

Counts those of the program MEGASTATS. Fails if they are more than 3 % above those that are kept; `--keep`
keeps the new ones.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

FILE = pathlib.Path(__file__).parent / "instructions.json"
TOLERANCE = 0.03
# Each kind is counted so many times. The least is taken: how threads wake each other varies a little.
BATCHES = 3
REQUESTS = 150
API = "/api/v1/appointments"
APPOINTMENTS = 5


def count(binary: str) -> dict[str, int]:
    """Returns the instructions for each kind of request, of all threads together."""
    with tempfile.TemporaryDirectory(prefix="megastats-instructions.") as folder:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
        settings = {
            "SERVER__PORT": port,
            "SERVER__WORKERS": 1,
            "SERVER__REQUEST_TIMEOUT_SECONDS": 300,
            "DATABASE__URL": "sqlite://instructions.db",
            "DATABASE__POOL_SIZE": 1,
            "CACHE__TTL_SECONDS": 3600,
        }
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        with open(f"{folder}/log", "wb") as log:
            service = subprocess.Popen(
                [*command, f"--callgrind-out-file={folder}/counted", binary],
                env=os.environ | {f"MEGASTATS__{key}": str(value) for key, value in settings.items()},
                cwd=folder, stdout=log, stderr=log,
            )
        try:
            client = connect(port)
            others = [f"clinic-{number}" for number in range(BATCHES * REQUESTS)]
            for tenant in ["default-tenant", *others]:
                for _ in range(APPOINTMENTS):
                    create(client, tenant)
            # What happens only once is not to count.
            for _ in range(100):
                ask(client, "default-tenant")
            asked = {"HIT": ["default-tenant"] * BATCHES * REQUESTS, "MISS": others}
            return {
                kind: min(
                    count_requests(service, folder, client, tenants[batch::BATCHES])
                    for batch in range(BATCHES)
                )
                for kind, tenants in asked.items()
            }
        finally:
            service.kill()
            service.wait()


def connect(port: int) -> socket.socket:
    deadline = time.monotonic() + 120
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("the service does not start")
            time.sleep(0.1)


def count_requests(service, folder: str, client: socket.socket, tenants: list[str]) -> int:
    """Asks for the statistics of each tenant; returns the instructions of one request."""

    def control(option: str, *more: str) -> None:
        command = ["callgrind_control", option, *more, str(service.pid)]
        subprocess.run(command, check=True, capture_output=True)

    control("-i", "on")
    for tenant in tenants:
        ask(client, tenant)
    control("-d")
    control("-i", "off")
    counted = max(pathlib.Path(folder).glob("counted.*"), key=lambda file: file.stat().st_mtime_ns)
    return round(int(re.search(r"^totals: (\d+)", counted.read_text(), re.MULTILINE)[1]) / len(tenants))


def create(client: socket.socket, tenant: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = json.dumps({"tenantId": tenant, "patientId": 7, "startsAt": now, "durationMin": 30})
    head = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    send(client, f"POST {API}/ HTTP/1.1\r\n{head}\r\n\r\n{body}")


def ask(client: socket.socket, tenant: str) -> None:
    send(client, f"GET {API}/mega-stats?tenantId={tenant} HTTP/1.1\r\nhost: localhost\r\n\r\n")


def send(client: socket.socket, request: str) -> None:
    """Sends a request, and reads its answer, which is JSON."""
    client.sendall(request.encode())
    answer = b""
    while not answer.endswith(b"}"):
        answer += client.recv(65536)
    if not answer.startswith(b"HTTP/1.1 20"):
        sys.exit(answer.decode())


def growth(counted: dict[str, int]) -> dict[str, float]:
    """What `counted` is as a multiple of what is kept; nothing if that is another compiler's."""
    kept = json.loads(FILE.read_text())
    if kept["compiler"] != compiler():
        print(f"{FILE.name} is for {kept['compiler']}, and this is {compiler()}: nothing is compared")
        return {}
    return {kind: number / kept[kind] for kind, number in counted.items()}


def compiler() -> str:
    command = ["rustc", "--version", "--verbose"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.search(r"^release: (.*)", shown, re.M)[1] + " " + re.search(r"^host: (.*)", shown, re.M)[1]


def main(keeps: bool) -> None:
    counted = count(os.environ["MEGASTATS"])
    print(f"instructions: {counted}")
    if keeps:
        FILE.write_text(json.dumps({"compiler": compiler()} | counted, indent=4) + "\n")
        return
    ratios = growth(counted)
    for kind, ratio in ratios.items():
        print(f"{kind}: {ratio:.3f} of what is kept")
    if any(abs(ratio - 1) > TOLERANCE for ratio in ratios.values()):
        print("if that is right, keep them: scripts/bench instructions --keep", flush=True)
    if any(ratio > 1 + TOLERANCE for ratio in ratios.values()):
        sys.exit(f"a request takes over {TOLERANCE:.0%} more instructions than {FILE.name} says")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main(keeps=False)
        case ["--keep"]:
            main(keeps=True)
        case _:
            sys.exit("usage: scripts/bench instructions [--keep]")
