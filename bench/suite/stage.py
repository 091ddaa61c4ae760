"""Upstreams, contenders and load generators of a run, as processes with a core each."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from suite import bodies, machine

HERE = Path(__file__).resolve().parent
PACED = "/paced/1/500"
SLOW = "/paced/1000/3600"
CALM = "/paced/20/100"


@dataclass(frozen=True)
class Target:
    """Somebody who is measured: where it listens, its process, and what it is sent."""

    name: str
    port: int
    pid: int
    path: str
    body: str
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def request(self) -> bytes:
        """The whole HTTP request."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            "content-type: application/json",
        ]
        lines += [f"{name}: {value}" for name, value in self.all_headers().items()]
        data = self.body.encode()
        return "\r\n".join([*lines, f"content-length: {len(data)}", "", ""]).encode() + data

    def all_headers(self) -> dict[str, str]:
        return {**self.headers, **({"authorization": f"Bearer {self.key}"} if self.key else {})}


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    pid: int
    key: str
    data: Path


class Stage:
    """Everything that one run starts; ``stop`` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.core, self.other_core = machine.cores()
        self.processes: list[subprocess.Popen[str]] = []
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited; thousands of streams are held

    def begin(self) -> None:
        """Start the upstreams and the proxy that is the reference."""
        self.upstream = self._nginx("upstream", _upstream_server(), self.other_core).port
        self.paced = machine.free_port()
        paced = self.spawn([sys.executable, str(HERE / "paced.py"), str(self.paced)], core=self.other_core)
        machine.wait_for(self.paced, paced)
        self.proxy = self._nginx("proxy", _proxy_server(self.upstream, self.paced), self.core)

    def spawn(self, command: list[str], *, core: int | str, quiet: bool = False) -> subprocess.Popen[str]:
        """Start a process on its core; ``quiet`` hides what it prints, but not its errors."""
        out = subprocess.DEVNULL if quiet else None
        # Modules are compiled once, as an installation's are: else every start would compile them.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=out, text=True, env=env
        )
        self.processes.append(process)
        return process

    def stop(self, *processes: subprocess.Popen[str]) -> None:
        """End these processes, or all."""
        ended = list(processes) or self.processes
        for process in ended:
            process.terminate()
        for process in ended:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self.processes = [process for process in self.processes if process not in ended]

    def gateway(self, data: Path | None = None, *, workers: int = 1, key: str | None = None) -> Gateway:
        """Start one on the measured core (several workers: on all cores) with a key of its own."""
        port, data = machine.free_port(), data or self.folder / f"data-{len(self.processes)}"
        core = str(self.core) if workers == 1 else ",".join(map(str, sorted(os.sched_getaffinity(0))))
        process = self.spawn(self.serve_command(port, data, workers), core=core, quiet=True)
        machine.wait_for(port, process)
        gateway = Gateway(port, process.pid, key or self.make_key(data), data)
        _check(gateway)
        return gateway

    def serve_command(self, port: int, data: Path, workers: int = 1) -> list[str]:
        return [
            sys.executable, "-m", "llm_router.cli", "serve", "--workers", str(workers),
            "--config", str(self.config()), "--data-dir", str(data), "--port", str(port),
        ]  # fmt: skip

    def make_key(self, data: Path) -> str:
        """A key with limits, of an account with credit."""
        command = [
            sys.executable, "-m", "llm_router.cli", "keys", "create", "--name", "bench", "--json",
            "--rpm", "1000000000", "--tpm", "1000000000", "--concurrency", "100000",
            "--config", str(self.config()), "--data-dir", str(data),
        ]  # fmt: skip
        end = time.monotonic() + 30
        while True:  # a gateway that listens may not be ready to be told yet
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode == 0:
                return str(json.loads(made.stdout)["key"])
            if time.monotonic() > end:
                raise RuntimeError(f"no key could be made: {made.stderr.strip()}")
            time.sleep(0.2)

    def config(self) -> Path:
        path = self.folder / "config.toml"
        if not path.exists():
            path.write_text(gateway_config(self.upstream, self.paced))
        return path

    def close(self, gateway: Gateway) -> None:
        self.stop(*(process for process in self.processes if process.pid == gateway.pid))

    def nginx_target(self, name: str, path: str, body: str) -> Target:
        return Target(name, self.proxy.port, self.proxy.pid, path, body)

    def _nginx(self, name: str, server: str, core: int) -> Gateway:
        port, place = machine.free_port(), self.folder / name
        place.mkdir()
        config = place / "nginx.conf"
        config.write_text(_nginx_conf(place, server.replace("PORT", str(port))))
        process = self.spawn(
            ["nginx", "-c", str(config), "-p", str(place), "-e", str(place / "error")], core=core
        )
        machine.wait_for(port, process)
        return Gateway(port, process.pid, "", place)

    def closed_loop(self, target: Target, seconds: int, connections: int) -> dict[str, float]:
        """As many requests as it answers, so many at a time.

        Raises:
            RuntimeError: not all were answered with success.
        """
        script = self.folder / "request.lua"
        script.write_text(_wrk_script(target))
        before = machine.cpu_s(target.pid)
        out = subprocess.run(
            [
                "taskset", "-c", str(self.other_core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
                "--timeout", "20s", "-s", str(script), f"http://127.0.0.1:{target.port}{target.path}",
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        used = machine.cpu_s(target.pid) - before
        requests = int(re.search(r"(\d+) requests in", out)[1])
        if "Non-2xx" in out or "Socket errors" in out or not requests:
            raise RuntimeError(f"{target.name}: not all requests were answered:\n{out}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
        return {"requests_per_s": rate, "cpu_ms": used / requests * 1000}

    def open_loop(self, target: Target, rate: int, seconds: int) -> dict[str, float]:
        """Latency in microseconds at a fixed rate."""
        request = self.folder / "request.http"
        request.write_bytes(target.request())
        out = subprocess.run(
            [
                "taskset", "-c", str(self.other_core), sys.executable, str(HERE / "openloop.py"),
                str(request), str(target.port), str(rate), str(seconds),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if out.returncode:
            raise RuntimeError(f"{target.name}: {out.stderr}")
        times = sorted(json.loads(out.stdout))
        return {
            "p50_us": times[len(times) // 2],
            "p99_us": times[int(len(times) * 0.99)],
            "max_us": times[-1],
        }

    def streams(
        self, target: Target, streams: int, seconds: float, *, settle_s: float = 0.5, repeat: bool = True
    ) -> dict[str, float]:
        """So many streams at once, each with the pace of the path that it is sent to."""
        request = self.folder / "request.http"
        request.write_bytes(target.request())
        said = self.folder / "client.log"
        with said.open("w") as log:
            client = subprocess.Popen(
                ["taskset", "-c", str(self.other_core), sys.executable, str(HERE / "clients.py"), str(request)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        try:
            parameters = {
                "port": target.port, "streams": streams, "seconds": seconds, "settle_s": settle_s, "repeat": repeat,
            }  # fmt: skip
            _tell(client, json.dumps(parameters))
            if client.stdout.readline() != "ready\n":
                raise RuntimeError(f"{target.name}: {said.read_text()[-2000:]}")
            before = machine.cpu_s(target.pid)
            _tell(client)
            figures: dict[str, float] = json.loads(client.stdout.readline())
            figures["cpu_us"] = (machine.cpu_s(target.pid) - before) / max(1, figures["events"]) * 1e6
            figures["memory_mb"] = machine.memory_mb(target.pid)
            _tell(client)
            client.communicate(timeout=60)
        finally:
            client.kill()
        if figures["lost"]:
            raise RuntimeError(f"{target.name}: streams broke: {figures}")
        return figures


def _tell(client: subprocess.Popen[str], line: str = "") -> None:
    client.stdin.write(line + "\n")
    client.stdin.flush()


def first_answer(port: int, key: str, seconds: float = 30) -> float:
    """When the first request was answered (``time.monotonic``), however early it is asked."""
    end, last = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            ask(port, key)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the first request was refused: {error.read()[:600]!r}") from None
        except OSError as error:
            last = str(error)
            time.sleep(0.002)
        else:
            return time.monotonic()
    raise RuntimeError(f"no answer in {seconds} s: {last}")


def ask(port: int, key: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        bodies.chat_request().encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        answer: dict[str, object] = json.load(reply)
    return answer


def _check(gateway: Gateway) -> None:
    """One request by hand: the answer must be whole, and charged."""
    answer = ask(gateway.port, gateway.key)
    if not answer["usage"]["cost"] > 0:
        raise RuntimeError(f"the gateway's answer was not charged: {answer}")


def _wrk_script(target: Target) -> str:
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in target.all_headers().items())
    return (
        f'wrk.method = "POST"\nwrk.body = [==[{target.body}]==]\n'
        f'wrk.headers["content-type"] = "application/json"\n{headers}'
    )


def _nginx_conf(place: Path, server: str) -> str:
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {place}/pid; worker_processes 1; worker_rlimit_nofile 20000;"
        "events { worker_connections 9000; }"
        "http { access_log off; keepalive_requests 100000000; client_max_body_size 8m;"
        f" client_body_buffer_size 2m; {temporary} {server} }}"
    )


def _upstream_server() -> str:
    """One fixed answer for each dialect. Under /large/ the whole request is read before it answers."""

    def answer(location: str, body: str) -> str:
        text = body.replace("'", "\\'")
        return f"location {location} {{ default_type application/json; return 200 '{text}'; }}"

    return (
        "server { listen 127.0.0.1:PORT;"
        f"{answer('/', bodies.chat_reply())}"
        f"{answer('/anthropic/', bodies.anthropic_reply())}"
        f"{answer('/gemini/', bodies.gemini_reply())}"
        "location /large/ { proxy_pass_request_body off; proxy_method GET; proxy_set_header content-length '';"
        " proxy_pass http://127.0.0.1:PORT/v1/chat/completions; } }"
    )


def _proxy_server(upstream: int, paced: int) -> str:
    common = 'proxy_http_version 1.1; proxy_set_header Connection "";'
    return (
        f"upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}"
        f"upstream paced {{ server 127.0.0.1:{paced}; keepalive 256; keepalive_requests 100000000; }}"
        f"server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://up; {common} }}"
        f"location /paced/ {{ proxy_pass http://paced; proxy_buffering off; {common} }} }}"
    )


_MODELS = {
    "bench-model": ("openai_chat", "upstream", "/v1"),
    "bench-anthropic": ("anthropic_messages", "upstream", "/anthropic"),
    "bench-gemini": ("gemini_generate", "upstream", "/gemini"),
    "bench-large": ("openai_chat", "upstream", "/large/v1"),
    "paced-model": ("openai_chat", "paced", f"{PACED}/v1"),
    "paced-anthropic": ("anthropic_messages", "paced", PACED),
    "paced-gemini": ("gemini_generate", "paced", PACED),
    "calm-model": ("openai_chat", "paced", f"{CALM}/v1"),
    "slow-model": ("openai_chat", "paced", f"{SLOW}/v1"),
}


def gateway_config(upstream: int, paced: int) -> str:
    """The defaults, but for the log of accesses, room for the streams that are held, and patience with a machine that
    stands still (which would else teach it that the upstream is slow); providers on the loopback."""
    text = '[server]\naccess_log = false\nconcurrency_max = 5000\nlag_max_s = 60\n[routing.concurrency]\nleast = 5000\n[credits]\nstarting = "1000000"\n'
    for model, (dialect, where, path) in _MODELS.items():
        port = upstream if where == "upstream" else paced
        text += (
            f'[providers.{model}]\ndialect = "{dialect}"\nbase_url = "http://127.0.0.1:{port}{path}"\n'
            'key_required = false\nauth = "none"\n'
            f'[models."{model}"]\nprice = {{ input_per_mtok = 0.15, output_per_mtok = 0.60 }}\n'
            "context_tokens = 4000000\noutput_tokens_max = 16384\n"
            'capabilities = { input_modalities = ["text", "image"], tools = true, streaming = true, sampling = true }\n'
            f'[[models."{model}".deployments]]\nprovider = "{model}"\nupstream_model = "bench-model"\n'
        )
    return text
