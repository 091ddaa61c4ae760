"""Exchanges whose plan spans several models, and what they say to the gateway."""

from __future__ import annotations


def test_the_list_alone_names_the_model() -> None:
    async def main() -> None:
        for dialect in ("openai_chat", "anthropic_messages"):
            world = _world()
            world.upstream.scripts["p1"] = [answer(whole())]
            body = {**ask("m1"), "max_tokens": 5, "models": ["m1"]}
            del body["model"]
            await world.serve(body, dialect=DIALECTS[dialect])
            assert world.client.status == 200, world.client.data
            assert world.record.model == "m1"

    run(main())
