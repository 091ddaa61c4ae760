"""Requests that use most of what each client dialect has words for."""

from __future__ import annotations

from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"port": {"type": "string", "enum": ["Brest", "Kiel"]}, "n": {"type": ["integer", "null"]}},
    "required": ["port"],
    "additionalProperties": False,
}

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "Ada", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        ]},
        {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": "{\"port\": \"Brest\"}"}},
            {"id": "call_2", "type": "custom", "custom": {"name": "note", "input": "low"}},
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "six"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "ok"}]},
    ],
    "tools": [
        {"type": "function", "function": {"name": "tide", "description": "Tides", "parameters": SCHEMA, "strict": True}},
        {"type": "custom", "custom": {"name": "note", "format": {"type": "text"}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "tide"}}, "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": SCHEMA, "strict": True}},
    "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 200, "stop": ["END"], "n": 1, "seed": 7, "logprobs": True,
    "top_logprobs": 2, "reasoning_effort": "low", "stream": True, "stream_options": {"include_usage": True}, "user": "u",
    "metadata": {"a": "b"}, "logit_bias": {"50": 1}, "presence_penalty": 0.1, "frequency_penalty": 0.1,
}  # fmt: skip

LEGACY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": "Tide?"},
        {"role": "assistant", "content": None, "function_call": {"name": "tide", "arguments": "{}"}},
        {"role": "function", "name": "tide", "content": "six"},
    ],
    "functions": [{"name": "tide", "parameters": SCHEMA}],
    "function_call": "auto",
}

MESSAGES: dict[str, Any] = {
    "model": "m", "max_tokens": 4000, "stream": True,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Tides."}, "title": "t"},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"port": "Brest"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": [{"type": "text", "text": "no"}]},
        ]},
    ],
    "tools": [{"name": "tide", "description": "Tides", "input_schema": SCHEMA}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}, "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stop_sequences": ["END"], "metadata": {"user_id": "u"}, "temperature": 1, "top_k": 5,
}  # fmt: skip

RESPONSES: dict[str, Any] = {
    "model": "m", "instructions": "Be brief.", "stream": True, "store": False,
    "input": [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
            {"type": "input_file", "filename": "t.txt", "file_data": "data:text/plain;base64,VGlkZXMu"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "I look.", "annotations": []},
        ]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "tide", "arguments": "{\"port\": \"Brest\"}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "six"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "note", "input": "low"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
    ],
    "tools": [
        {"type": "function", "name": "tide", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "note"}, {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "tide"}]},
    "text": {"format": {"type": "json_schema", "name": "t", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"], "max_output_tokens": 200,
    "temperature": 0.5, "top_p": 0.9, "metadata": {"a": "b"}, "parallel_tool_calls": True, "truncation": "disabled",
}  # fmt: skip

GEMINI: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": PIXEL}}]},
        {"role": "model", "parts": [
            {"text": "Hm.", "thought": True}, {"text": "I look.", "thoughtSignature": "c2lnbmF0dXJl"},
            {"functionCall": {"id": "c1", "name": "tide", "args": {"port": "Brest"}}, "thoughtSignature": "c2ln"},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
        ]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "tide", "response": {"result": 6}}}]},
    ],
    "tools": [
        {"functionDeclarations": [{"name": "tide", "description": "Tides", "parameters": {
            "type": "OBJECT", "properties": {"port": {"type": "STRING", "nullable": True}}, "required": ["port"]}}]},
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["tide"]}},
    "generationConfig": {
        "temperature": 0.5, "topP": 0.9, "topK": 5, "maxOutputTokens": 200, "stopSequences": ["END"], "candidateCount": 1,
        "seed": 7, "responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}, "responseLogprobs": True,
        "logprobs": 2, "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}, "presencePenalty": 0.1,
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
}  # fmt: skip

REQUESTS = {
    "openai_chat": (CHAT, LEGACY),
    "anthropic_messages": (MESSAGES,),
    "openai_responses": (RESPONSES,),
    "gemini_generate": (GEMINI,),
}
