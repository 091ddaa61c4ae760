"""HTTP towards providers, and the guarded fetch of media that clients name.

:class:`~llm_router.adapters.upstream.client.LeanUpstream` is the client of every day: HTTP/1.1 on
``asyncio.Protocol`` and llhttp. :class:`~llm_router.adapters.upstream.aiohttp_client.AiohttpUpstream`
is the same port on aiohttp: the fallback, and the oracle of the tests.
:class:`~llm_router.adapters.upstream.fetch.GuardedFetcher` fetches from addresses nobody vouches for.
"""
