#!/usr/bin/env python3
"""What the gateway costs: CPU per request, beside nginx's proxy_pass on the same work.

    python bench/gateway.py [--seconds 4] [--rounds 3] [--connections 32] [--workers 2] [--json FILE]

One core (the first) for whoever is measured, the other for the load generator (wrk) and the
upstream (nginx, answering one fixed chat completion). Every contender gets the same request of
544 bytes and the upstream's reply of 832 bytes; the gateway does its whole work: key, limits, hold
and settlement synced to disk, routing, metering, repair of the reply. Rounds are interleaved, the
medians are printed, and what counts is the ratio to nginx in the same run: CPU seconds come from
the operating system's own accounting (/proc/PID/stat of all processes of the contender).

Needs nginx and wrk (Debian: apt-get install nginx-light wrk). Listens on the loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
REPLY_BYTES = 832
REQUEST_BYTES = 544


def main() -> int:
    options = _options()
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if missing:
        print(f"missing: {' and '.join(missing)} (Debian: apt-get install nginx-light wrk)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="llm-router-bench-") as folder:
        bench = Bench(Path(folder), options)
        try:
            bench.start()
            results = bench.run()
        finally:
            bench.stop()
    report(results, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="measure it with so many workers too")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


class Bench:
    """Upstream, contenders and the load generator."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.cores = sorted(os.sched_getaffinity(0))
        self.processes: list[subprocess.Popen[str]] = []
        self.contenders: dict[str, tuple[str, int]] = {}
        self.keys: dict[str, str] = {}

    def start(self) -> None:
        upstream = self._nginx("upstream", _upstream_server(), core=self.cores[-1])
        proxy = self._nginx("proxy", _proxy_server(upstream[0]), core=self.cores[0])
        gateway = self._gateway(upstream[0])
        self.contenders = {
            "nginx proxy_pass": (f"http://127.0.0.1:{proxy[0]}", proxy[1]),
            "llm-router": (f"http://127.0.0.1:{gateway[0]}", gateway[1]),
        }
        if self.options.workers:
            name = f"llm-router, {self.options.workers} workers"
            port, pid = self._gateway(upstream[0], self.options.workers)
            self.contenders[name] = (f"http://127.0.0.1:{port}", pid)

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def run(self) -> dict[str, list[tuple[float, float]]]:
        """(requests/s, CPU seconds per 1,000 requests) of each round of each contender."""
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in self.contenders}
        for name in self.contenders:
            self._measure(name, seconds=1)
        for _ in range(self.options.rounds):
            for name in self.contenders:
                results[name].append(self._measure(name, self.options.seconds))
        return results

    def _measure(self, name: str, seconds: int) -> tuple[float, float]:
        url, pid = self.contenders[name]
        before = cpu_s(pid)
        out = subprocess.run(
            [
                "taskset", "-c", str(self.cores[-1]),
                "wrk", "-t1", f"-c{self.options.connections}", f"-d{seconds}s", "--timeout", "10s",
                "-s", str(self._script(url)), f"{url}/v1/chat/completions",
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        used = cpu_s(pid) - before
        requests = int(re.search(r"(\d+) requests in", out)[1])
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = re.search(r"Socket errors: (.*)", out)
        if bad or errors or not requests:
            raise SystemExit(f"{name}: not all requests were answered:\n{out}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
        return rate, used / requests * 1000

    def _script(self, url: str) -> Path:
        path = self.folder / "request.lua"
        body = request_body()
        path.write_text(
            'wrk.method = "POST"\n'
            f"wrk.body = [==[{body}]==]\n"
            'wrk.headers["content-type"] = "application/json"\n'
            f'wrk.headers["authorization"] = "Bearer {self.keys.get(url, "")}"\n'
        )
        return path

    def _nginx(self, name: str, server: str, core: int) -> tuple[int, int]:
        port = free_port()
        place = self.folder / name
        place.mkdir()
        config = place / "nginx.conf"
        config.write_text(_nginx_conf(place, server.replace("PORT", str(port))))
        process = subprocess.Popen(
            [
                "taskset",
                "-c",
                str(core),
                "nginx",
                "-c",
                str(config),
                "-p",
                str(place),
                "-e",
                str(place / "error"),
            ],
            text=True,
        )
        self.processes.append(process)
        wait_for(port)
        return port, process.pid

    def _gateway(self, upstream_port: int, workers: int = 1) -> tuple[int, int]:
        """One worker has the first core; several, with their parent, may use all."""
        port, data = free_port(), self.folder / f"data{workers}"
        config = self.folder / "config.toml"
        cores = str(self.cores[0]) if workers == 1 else ",".join(map(str, self.cores))
        config.write_text(
            f'[server]\naccess_log = false\n[credits]\nstarting = "100000"\n'
            f'[providers.bench]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:{upstream_port}/v1"\n'
            f'key_required = false\nauth = "none"\n'
            f'[models."bench-model"]\nprice = {{ input_per_mtok = 0.15, output_per_mtok = 0.60 }}\n'
            f"context_tokens = 128000\noutput_tokens_max = 16384\n"
            f'[[models."bench-model".deployments]]\nprovider = "bench"\nupstream_model = "bench-model"\n'
        )
        command = [
            "taskset", "-c", cores, sys.executable, "-m", "llm_router.cli", "serve", "--workers", str(workers),
            "--config", str(config), "--data-dir", str(data), "--port", str(port),
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        wait_for(port)
        made = subprocess.run(
            [
                sys.executable, "-m", "llm_router.cli", "keys", "create", "--name", "bench", "--json",
                "--config", str(config), "--data-dir", str(data),
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        key = self.keys[f"http://127.0.0.1:{port}"] = json.loads(made.stdout)["key"]
        self._check(port, key)
        return port, process.pid

    def _check(self, port: int, key: str) -> None:
        """One request by hand: the answer must be whole, and charged."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            request_body().encode(),
            {"content-type": "application/json", "authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            answer = json.load(reply)
        if not answer["usage"]["cost"] > 0:
            raise SystemExit(f"the gateway's answer was not charged: {answer}")


def request_body() -> str:
    body = {
        "model": "bench-model",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that answers briefly and correctly."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    text = "Explain in a few sentences why the sky is blue, and why it turns red at sunset. "
    body["messages"][1]["content"] = (text * 8)[: REQUEST_BYTES - len(json.dumps(body))]
    return json.dumps(body)


def reply_body() -> str:
    body = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 96,
            "completion_tokens": 88,
            "total_tokens": 184,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    text = "Sunlight is scattered by the molecules of the air, and blue light far more than red. "
    body["choices"][0]["message"]["content"] = (text * 10)[: REPLY_BYTES - len(json.dumps(body))]
    return json.dumps(body)


def _nginx_conf(place: Path, server: str) -> str:
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {place}/pid; worker_processes 1;"
        "events { worker_connections 4096; }"
        f"http {{ access_log off; keepalive_requests 100000000; {temporary} {server} }}"
    )


def _upstream_server() -> str:
    body = reply_body().replace("'", "\\'")
    return (
        "server { listen 127.0.0.1:PORT; location / { default_type application/json;"
        f" return 200 '{body}'; }} }}"
    )


def _proxy_server(upstream: int) -> str:
    return (
        f"upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}"
        "server { listen 127.0.0.1:PORT; location / { proxy_pass http://up;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; } }'
    )


def cpu_s(pid: int) -> float:
    """CPU seconds that a process and its children have used, their threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]
    return (int(fields[11]) + int(fields[12])) * TICK_S + sum(map(cpu_s, children))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def interpreter() -> str:
    config = sysconfig.get_config_var("CONFIG_ARGS") or ""
    built = "PGO" if "--enable-optimizations" in config else "no PGO"
    return f"CPython {platform.python_version()} ({built}, {'LTO' if '--with-lto' in config else 'no LTO'})"


def report(results: dict[str, list[tuple[float, float]]], options: argparse.Namespace) -> None:
    base = statistics.median(cpu for _, cpu in results["nginx proxy_pass"])
    print(
        f"{interpreter()}; {options.connections} connections, {options.rounds} rounds of {options.seconds} s"
    )
    print("| contender | requests/s | CPU ms per request | x nginx CPU |")
    print("|---|---:|---:|---:|")
    figures = {}
    for name, rounds in results.items():
        rate = statistics.median(rate for rate, _ in rounds)
        cpu = statistics.median(cpu for _, cpu in rounds)
        figures[name] = {"requests_per_s": rate, "cpu_s_per_1000": cpu, "x_nginx": cpu / base}
        print(f"| {name} | {rate:,.0f} | {cpu:.3f} | {cpu / base:.1f} |")
    if options.json:
        options.json.write_text(json.dumps({"interpreter": interpreter(), "figures": figures}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
