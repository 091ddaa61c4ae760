#!/usr/bin/env python3
"""Write docs/fault-lab.md from the kinds of faults that there are.

python tools/fault_lab_page.py           print it
python tools/fault_lab_page.py --write   write docs/fault-lab.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from llm_router.sandbox.faults.kind import GROUPS, Kind
from llm_router.sandbox.faults.presets import PRESETS
from llm_router.sandbox.faults.registry import KINDS

PAGE = Path(__file__).parent.parent / "docs" / "fault-lab.md"

HEAD = """# The fault lab

Outages on request: the simulated providers of the [sandbox](sandbox.md) fail over real HTTP, in their own formats, as a
file says. So you can see what your application does when a provider is down, slow, or talks nonsense, and whether the
gateway's fallbacks do what you want, before it happens.

```console
$ llm-router serve --sandbox --faults outage:openai      # a preset: every request to OpenAI fails
$ llm-router serve --sandbox --faults faults.toml        # your own file
$ llm-router sandbox --faults faults.toml                # only the providers, for other software
```

Requests that no fault strikes get a sound answer. Nothing else changes: keys, credits, records and fallbacks are real.

## A rehearsal

What happens to an application while OpenAI refuses every third request, and is then not reachable for ten seconds?

```toml
# faults.toml
[[fault]]
kind = "overloaded"
provider = "openai"
every = 3

[[fault]]
kind = "refused"
provider = "openai"
from_s = 30
to_s = 40
```

```console
$ llm-router serve --sandbox --faults faults.toml
$ export LLM_ROUTER_BASE_URL=http://127.0.0.1:4040/v1 AISA_API_KEY=sk-lr-...    # the key that the start shows
$ for i in 1 2 3; do
>   python3 skill/scripts/llm_router_client.py chat -m gpt-6-luna --message "What is 2+2?"
> done
```

The third answer comes from the model's next provider, if it has one; else it is an error that names the cause. Every
record says which deployment failed how, and what was charged: `GET /v1/generations/{id}` (the header `x-generation-id`).

## The file

One `[[fault]]` for each rule, in TOML. A request is struck by the first rule that holds; all that a rule says must hold.

| key | meaning |
|---|---|
| `kind` | what happens: a name from the tables below, or a list of names, which take turns |
| `provider`, `model`, `deployment`, `dialect` | whom it concerns: a name, a pattern (`gpt-*`) or a list of them. Models go by the gateway's name and the provider's; deployments are `provider/model`; without any, all |
| `stream` | `true`: only streamed requests; `false`: only others |
| `share` | which part of the requests, from 0 to 1, drawn by `seed`: the same requests in the same order are struck alike |
| `every` | each such request: 3 is the third, the sixth, ... |
| `first` | so many times, then never again |
| `from_s`, `to_s` | only in that time, in seconds since the start |
| `seconds`, `events`, `status` | of the kinds that name them: how long, after how many events of a stream, which status |
| `seed` | once, on top of the file: for `share`; 0 if left out |

A misspelt key, an unknown kind, a key that the kind does not read, or with `serve --sandbox` a provider, model or deployment that the
gateway does not have is an error that names the nearest. The start says which faults are on. The pools of keys of the configuration
(`providers.ID.keys`) are played with as many keys that are none, so that their rotation can be rehearsed.

`refused` concerns whole providers, always or from `from_s` to `to_s`: who is refused has said nothing yet that could be
counted. Such a provider gets a port of its own, which is shut meanwhile; `llm-router sandbox` prints it. Without
`provider` it is the sandbox's own port.

Chat and embeddings are struck; lists of models and counting are not. The orders in prompts
([sandbox](sandbox.md#orders)) go on working: a fault spoils whatever the answer would have been, unless that is an error.

## Presets

`--faults NAME` strikes all providers, `--faults NAME:PROVIDER` that one.

| preset | what happens |
|---|---|
"""


def page() -> str:
    """The whole page."""
    lines = [f"| `{name}` | {preset.about} |" for name, preset in PRESETS.items()]
    lines += ["", "## Kinds", "", f"There are {len(KINDS)}."]
    for group, title in GROUPS.items():
        lines += ["", f"### {title}", "", "| kind | what happens |", "|---|---|"]
        lines += [_row(kind) for kind in KINDS.values() if kind.group == group]
    return HEAD + "\n".join(lines) + "\n"


def _row(kind: Kind) -> str:
    only = "" if kind.wholes else " (streams only)"
    return f"| `{kind.name}` | {kind.about}{only} |"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page())
    else:
        print(page())
