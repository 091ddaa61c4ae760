"""The operation "embed": texts to vectors. One small canonical form, one file a wire format.

| file | what |
|---|---|
| canonical | the request and reply that every format can decode to and encode from |
| vectors | vectors as they travel: numbers, base64 of float32, and what providers make of it |
| asking | checks that the fronts share |
| openai, gemini | formats that clients and providers speak |
| cohere, bedrock, vertex, ollama | formats that only providers speak |

A format belongs to the chat dialect of the same provider: see :mod:`llm_router.wire.operations`.
"""
