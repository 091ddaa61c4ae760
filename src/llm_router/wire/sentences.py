"""The words by which providers say what is wrong, where neither a status nor a code says it.

An error's text may quote the request: a member's name, a value, what stood behind an address. So the
patterns here are of two sorts. Those that acquit a deployment (the prompt is too long, the content is
refused) are looked for anywhere: whoever plants such words in a request harms that request alone. Those
that speak against a deployment or a key are whole sentences of providers, at the very beginning of the text;
and wire/quoted.py drops what they said if the request holds the same words.

What is matched is lower case.
"""

from __future__ import annotations

import re

from llm_router.domain import late
from llm_router.domain.errors import UpstreamKind

_K = UpstreamKind

CONTEXT = late.compile(
    r"context_length_exceeded|context_window_exceeded|exceed_context_size|too_many_prompt_tokens"
    r"|string_above_max_length|prompt is too long|prompt too long"
    r"|(maximum|max) context length|context (length|window|size) (is |was |has been )?exceeded"
    r"|exceed\w* (the |its |your )?(\w+ ){0,3}context (length|window|size|limit)"
    r"|input (token count|length|tokens)[^.]{0,60}exceed|(input|prompt)[^.]{0,40}exceeds? the maximum"
    r"|input tokens exceeded|exceeds? the (available|maximum) context"
    r"|(messages?|prompt|input|request)[^.]{0,30} (is|are) too long"
    r"|too large to process|maximum prompt length|longer than the (model|maximum)"
)
TOO_MANY_TOKENS = late.compile(r"too[ _]many[ _](input[ _])?tokens(?![^.]*\bwait\b)")
POLICY = late.compile(
    r"content_filter|content_policy|contentpolicy|responsibleaipolicy|content management policy"
    r"|usage polic|safety (system|polic|filter|setting)|moderation_blocked|data_inspection_failed"
    r"|flagged (by|as|for)|requires moderation|inappropriate content|prohibited_content"
    r"|guardrail|sensitive (content|word|information)|new_sensitive|content violat"
)
PAYLOAD = late.compile(r"request_too_large|request too large|payload too large|entity too large")
INVALID = late.compile(
    r"invalid[ _-]?(request|argument|parameter|value)|validation|bad[ _]request|unsupported"
)
OBJECT = late.compile(
    r"\b(files?|cached ?contents?|caches?|vector[ _]stores?|containers?|uploads?|batch(es)?|assistants?"
    r"|threads?|conversations?|previous[ _]response|guardrails?|skills?)\b"
)
"""What a request may name beside its model: that it is not there, or is another's, is the request's fault."""

OVERLOADED = late.compile(
    r"overloaded|server_is_busy|server is busy|at capacity|capacity_exceeded|capacity exceeded"
    r"|no capacity|service[ _]?unavailable|model is (currently )?loading|modelnotready"
    r"|temporarily unavailable|high demand|no healthy upstream|no available (server|worker|instance)"
)
RATE = late.compile(
    r"rate[ _-]?limit|ratelimit|throttl|resource_exhausted|too_many_requests|too many requests"
    r"|tokens_per_minute|requests per minute|quota exceeded|exceeded your current quota|quota_exceeded"
)
TIMEOUT = late.compile(r"timeout_error|timed?[ -]?out\b|gateway timeout|deadline[ _]?exceeded")
PAYMENT = late.compile(
    r"insufficient_quota|insufficient[ _](balance|credit|fund)|billing_(hard_limit|not_active|error)"
    r"|credit balance is too low|payment[ _]required|arrearage|out of credits|more credits"
    r"|account (is )?(deactivated for )?(not active, please check your billing|overdue|in arrears)"
    r"|exceeded your (monthly|spending|budget)|spending limit|used all available credits"
)
"""These four stand anywhere in the text: they only say which it is of several that a status leaves open,
all of them held against a deployment or a key."""

_QUOTE = r"[`'\"\u2018\u2019\u201c\u201d]?"
_NAME = _QUOTE + r"(?P<name>[^\s`'\"\u2018\u2019\u201c\u201d]{1,300}?)" + _QUOTE
_GONE = (
    r"(?:(?:does not|doesn't|do not) exist|(?:was |is )?not found|was removed|is not available"
    r"|is currently not available|(?:has been|is|was) (?:deprecated|decommissioned|retired|shut down|discontinued)"
    r"|(?:has )?reached (?:the|its) end of (?:its )?life)"
)


def _sentences(*alternatives: str) -> tuple[re.Pattern[str], ...]:
    """Patterns for the beginning of a text; what some router says before it quotes is passed over."""
    before = r"(?:error: |provider returned error: )?"
    return tuple(late.compile(f"{before}(?P<words>{each})") for each in alternatives)


_KEY = _sentences(
    r"(?:the |an |your )?(?:incorrect|invalid|wrong|missing|expired|unknown|no) (?:api|access|subscription)[ -]?key\b",
    r"(?:the |your )?api[ -]?key (?:is |was |has )?(?:not valid|invalid|expired|missing|not found|incorrect|required)",
    r"(?:please (?:provide|pass|use) )?(?:a )?valid api key",
    r"invalid (?:authentication|bearer token|access token|api token|credentials?|token)\b(?! in)",
    r"missing authentication\b",
    r"(?:request )?(?:not |un)authenticated\b",
    r"unauthori[sz]ed\W*$",
    r"authentication (?:fails|failed|required)\b",
    r"access denied due to (?:invalid|missing) subscription key",
    r"the security token included in the request is (?:invalid|expired)",
    r"the request signature we calculated does not match",
)
_PERMISSION = _sentences(r"this organization has been disabled\b", r"organization has been restricted\b")
_PAYMENT = _sentences(
    r"your credit balance is too low\b",
    r"you have reached your specified (?:workspace )?api usage limits",
    r"(?:your )?(?:account )?(?:has )?(?:insufficient|not enough) (?:account )?(?:balance|credits?|funds)\b",
    r"this request requires more credits",
    r"access denied, please make sure your account is in good standing",
    r"your account is not active, please check your billing",
    r"(?:your )?account (?:\S{1,80} )?is (?:suspended|overdue|in arrears)",
    r"payment required\b",
    r"billing hard limit has been reached",
    r"(?:you have |your team \S{1,80} has either )?used all available credits",
    r"you have (?:exceeded|reached) your (?:monthly|spending|budget)",
    r"(?:you are )?out of credits\b",
)
_MODEL = _sentences(
    rf"(?:the |this |publisher |requested |foundation )*model (?:version )?(?:or endpoint )?{_NAME} {_GONE}",
    r"(?:the |this )?model (?:version )?has reached (?:the|its) end of",
    rf"model: {_NAME}$",
    r"model not exist\W*$",
    r"(?:the )?(?:requested )?model (?:was |is )?not found(?:\W*$|, inaccessible)",
    r"model does not exist\. please check",
    rf"models/{_NAME} is not found for api version",
    rf"(?:invalid|unknown) model(?: id| name)?: {_NAME}(?:[.,;]|$)",
    r"(?:invalid|unknown) model(?: id| name)?\W*$",
    rf"(?:/\S{{1,80}}: )?invalid model name passed in model={_NAME}(?:\.|$)",
    rf"{_NAME} is not a valid model\b",
    rf"no such model:? {_NAME}",
    rf"unable to access (?:non-serverless )?model {_NAME}(?:\.| |$)",
    rf"not found the model {_NAME} or permission denied",
    rf"no (?:allowed )?endpoints found for {_NAME}\.?$",
    r"no allowed providers are available for the selected model",
    r"the provided model identifier is invalid",
    r"could not resolve the foundation model",
    rf"invocation of model id {_NAME} with on-demand throughput",
    r"access denied\. this model is marked by provider as legacy",
    r"the api deployment for this resource does not exist",
    rf"(?:the )?(?:deployment|endpoint) {_NAME} {_GONE}",
    rf"function {_NAME}: not found for account",
)
_ROUTE = _sentences(
    r"(?:404:? )?(?:the )?(?:requested )?(?:page|route|path|url|resource|endpoint)?(?: was| is)? ?not found\W*$",
    r"404(?: page)? not found\b",
    r"invalid url \(",
    r"unknown request url",
    r"no route matched",
    r"no such (?:route|endpoint|path)\b",
    r"the requested url \S{0,300} ?was not found on this server",
    r"cannot post /",
)
"""The address itself is wrong: that of a provider in the configuration."""

_RATE = _sentences(
    r"(?:the )?rate limit (?:is |was |has been )?(?:exceeded|reached)",
    r"rate exceeded\b",
    r"too many requests\b",
    r"quota exceeded\b",
    r"(?:the )?request (?:was|has been) throttled",
)
_OVERLOADED = _sentences(
    r"(?:(?:the|that|this|our) )?(?:model|servers?|engine|service|deployment)?(?: is| are)? ?(?:currently |temporarily )?"
    r"(?:overloaded|at capacity|unavailable)\b"
)

AGAINST = (
    (_KEY, _K.AUTHENTICATION),
    (_PERMISSION, _K.PERMISSION),
    (_PAYMENT, _K.PAYMENT),
    (_MODEL, _K.NOT_FOUND),
    (_RATE, _K.RATE_LIMIT),
    (_OVERLOADED, _K.OVERLOADED),
)
"""What speaks against a deployment or a key though the status does not, first match wins."""

AGAINST_KEY = AGAINST[:3]
AGAINST_MODEL = ((_MODEL, _K.NOT_FOUND),)
AGAINST_ADDRESS = ((_MODEL, _K.NOT_FOUND), (_ROUTE, _K.NOT_FOUND))

# What stands beside a code that calls the request invalid, and is none of its fault even so.
_EVEN_SO_KEY = _sentences(
    r"incorrect api key provided\b", r"api key (?:not valid|expired)\b", r"invalid api key(?: provided)?\W*$"
)
_EVEN_SO_PAYMENT = _PAYMENT[:2]
EVEN_SO = (
    (_EVEN_SO_KEY, _K.AUTHENTICATION),
    (_PERMISSION, _K.PERMISSION),
    (_EVEN_SO_PAYMENT, _K.PAYMENT),
    (_MODEL, _K.NOT_FOUND),
)
"""xAI, Gemini, Anthropic, DeepSeek and Bedrock tell keys, credit and models so: status 400, and a code for bad requests."""

Sentences = tuple[tuple[tuple[re.Pattern[str], ...], UpstreamKind], ...]


def first(text: str, table: Sentences) -> tuple[UpstreamKind, str] | None:
    """The first sentence of a table with which the text begins: what it means, and its words."""
    for patterns, kind in table:
        for pattern in patterns:
            found = pattern.match(text)
            if found is not None:
                return kind, found["words"]
    return None


def model_named(text: str) -> str | None:
    """The model that a text says is not there, if it names one."""
    for pattern in _MODEL:
        found = pattern.match(text)
        if found is not None:
            return found.groupdict().get("name")
    return None
