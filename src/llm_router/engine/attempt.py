"""One try of one deployment: write the request for it, call it, bring its answer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_router.billing.meter import rate
from llm_router.domain.errors import (
    LossRefused,
    ProviderNotConfigured,
    RouterError,
    UnsupportedContent,
    UpstreamError,
    UpstreamKind,
)
from llm_router.domain.model import Provider
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.own_key import OwnKey, origin_of
from llm_router.domain.record import AttemptRecord
from llm_router.domain.usage import Usage
from llm_router.engine import continuing, pump
from llm_router.engine.admit import Call
from llm_router.engine.credentials import addressed, credential_headers, credential_of, sent_secret, signed
from llm_router.engine.deadlines import deadlines_of, told
from llm_router.engine.intake import redact_error
from llm_router.engine.landed import Landed, Replayed
from llm_router.engine.recall import Recall, may_give_state
from llm_router.engine.tracks import NOTHING, Track, price_of
from llm_router.engine.weighing import weigh_error
from llm_router.ports import Clock, Deadlines, Fetcher, Tokens, Upstream, UpstreamReply, UpstreamRequest
from llm_router.routing.eligible import is_parameter
from llm_router.routing.key_ring import KeyRing
from llm_router.routing.plan import Candidate
from llm_router.wire.bridge import crossed
from llm_router.wire.chat import ChatRequest
from llm_router.wire.classify import header_retry_after_s
from llm_router.wire.continuing.asking import prefilled
from llm_router.wire.cut import Pieces
from llm_router.wire.dialect import Behind, Dialect, Fetched, Inspected, Target
from llm_router.wire.inline import inline_media
from llm_router.wire.placement import placed
from llm_router.wire.toolnames import client_names

ERROR_BYTES_MAX = 64 * 1024
"""How much of an error body is read."""

NOTHING_FETCHED: Mapping[str, Fetched] = MappingProxyType({})

_OURS_TO_MEND = {
    UpstreamKind.AUTHENTICATION: "credentials for it",
    UpstreamKind.PERMISSION: "access to the model",
    UpstreamKind.PAYMENT: "account for lack of payment",
}
"""What a provider holds against the operator, not against the client."""


class Attempt(msgspec.Struct, kw_only=True):
    """One try under way."""

    candidate: Candidate
    started_ms: int
    started_us: int
    outcome: str = "failed"
    status: int | None = None
    first_byte_us: int | None = None
    error: RouterError | None = None
    request: UpstreamRequest | None = None

    def failed(self, error: RouterError, track: Track) -> None:
        """Note why it failed; nothing of the gateway's credentials may stand in it."""
        if isinstance(error, UpstreamError):
            weigh_error(error, track, self.candidate, self.request)
            _redact(error, self.candidate, track)
            error.__cause__ = error.__context__ = error.__traceback__ = None  # their frames hold the reply
        self.error = error


class Attempts:
    """Runs attempts.

    Attributes:
        ring: whose turn it is of the keys of providers that have several.
    """

    def __init__(
        self,
        dialects: Mapping[str, Behind[Any, Any]],
        upstream: Upstream,
        fetcher: Fetcher,
        clock: Clock,
        tokens: Tokens | None = None,
        recall: Recall | None = None,
    ) -> None:
        self.ring = KeyRing()
        self._recall = recall
        self._dialects = dialects
        self._upstream = upstream
        self._fetcher = fetcher
        self._clock = clock
        self._tokens = tokens

    async def run(self, track: Track, candidate: Candidate) -> None:
        """Try ``candidate``; on return its answer stands in ``track.delivery``, complete but for the end.

        Raises:
            UpstreamError: it failed; ``track.content_sent`` says whether another may still answer.
            ClientError: it cannot take this request.
        """
        attempt = self.opened(track, candidate)
        try:
            request = await self._prepare(track, candidate)
            await self._call(track, attempt, request)
            attempt.outcome = "delivered"
        except RouterError as error:
            attempt.failed(error, track)
            raise
        except BaseException:  # the client left, or we are stopping: never swallowed
            attempt.outcome = "aborted"
            raise
        finally:
            self.over(track, attempt)

    def opened(self, track: Track, candidate: Candidate) -> Attempt:
        """An attempt begins: what the one before left on the track is gone."""
        track.candidate = candidate
        track.model = candidate.model
        track.delivery = track.transcript = None
        going = track.continuation
        if going is not None:
            track.delivery = pump.StreamDelivery(continuing.opened(going))
        track.losses.clear()
        track.sent_secret = track.pool_key = None
        inspected = None if track.admitted is None else track.admitted.inspected
        keeps = going is None and inspected is not None and self.keeps(candidate, inspected)
        track.heard = [] if keeps else None
        track.heard_bytes = 0
        return Attempt(
            candidate=candidate, started_ms=self._clock.now_ms(), started_us=self._clock.monotonic_us()
        )

    def keeps(self, candidate: Candidate, inspected: Inspected) -> bool:
        """Whether what a reply says may have to be remembered."""
        return self._recall is not None and may_give_state(inspected, candidate)

    def over(self, track: Track, attempt: Attempt) -> None:
        """An attempt is over: it is written down."""
        track.attempts.append(_record(track, attempt, self._clock.monotonic_us()))

    async def replay(self, track: Track, landed: Landed) -> None:
        """Make the reply of an answer that another exchange got; nothing is called.

        Raises:
            UpstreamError: it is none.
        """
        track.candidate, track.model, track.shared = landed.candidate, landed.candidate.model, True
        track.tool_names = dict(landed.tool_names)
        track.losses[:] = landed.losses
        track.heard = None
        await pump.whole(track, self.behind(landed.candidate), Replayed(landed.body), self._clock)

    async def _prepare(self, track: Track, candidate: Candidate) -> UpstreamRequest:
        """The request in the deployment's own dialect. Starts from the client's untouched original."""
        assert track.admitted is not None
        inspected, target = track.admitted.inspected, target_of(track, candidate)
        fetched = await self._fetch(track, candidate.provider) if inspected.media_urls else {}
        restored: ChatRequest | None = None
        if self._recall is not None:
            inspected, restored, target = await self._recall.restore(track, candidate, target, inspected)
        body, forwarded = self.written(track, candidate, target, inspected, restored, fetched)
        return await self._addressed(track, candidate, body, forwarded)

    def written(
        self,
        track: Track,
        candidate: Candidate,
        target: Target,
        inspected: Inspected,
        restored: ChatRequest | None = None,
        fetched: Mapping[str, Fetched] = NOTHING_FETCHED,
    ) -> tuple[bytes, dict[str, str]]:
        """The body in the deployment's own dialect, and the headers that go with it.

        Raises:
            ClientError: the deployment cannot take it, or not without a loss that is refused.
        """
        assert track.admitted is not None
        call, provider, behind = track.call, candidate.provider, self.behind(candidate)
        going = track.continuation
        if candidate.same_dialect and restored is None and going is None:
            assert isinstance(call.dialect, Dialect)  # a front alone is never what a provider speaks
            track.tool_names = {}
            body, losses = call.dialect.edit_request(inspected, target, fetched)
        elif (
            inspected.plain
            and restored is None
            and going is None
            and not (inspected.losses or track.losses)
            and (plain := _written_plainly(call, behind, target, inspected)) is not None
        ):
            track.tool_names = NOTHING
            return plain, {}
        else:
            if track.canonical is None:
                track.canonical = call.dialect.decode_request(inspected)
            canonical = restored if restored is not None else track.canonical
            canonical = inline_media(canonical, fetched) if fetched else canonical
            track.tool_names = client_names(canonical, behind.name) if call.operation == "chat" else {}
            if going is not None:
                asked = continuing.ask(going, canonical, target, candidate)
                target = msgspec.structs.replace(target, output_tokens_cap=None)
                body, losses = crossed(asked.request, behind, target, call.dialect.words)
                body = body if asked.prefill is None else prefilled(body, asked.prefill)
            elif call.operation == "chat":
                body, losses = crossed(canonical, behind, target, call.dialect.words)
            else:
                body, losses = behind.encode_request(canonical, target)
        forwarded = _forwarded(track, behind) if candidate.same_dialect and behind.forwards else {}
        if behind.place is not None:
            body, forwarded, lost = behind.place(body, forwarded, call.operation)
            losses += lost
        if not (losses or inspected.losses or track.losses):
            return body, forwarded
        losses = (*inspected.losses, *track.losses, *losses)
        missed = [loss for loss in losses if is_parameter(loss.field)] if track.admitted.plan.exact else []
        if missed:
            raise LossRefused(
                f"{provider.name} does not take: "
                + ", ".join(f"{loss.field} ({loss.why})" for loss in missed),
                param=missed[0].field,
            )
        if losses and track.admitted.strict:
            raise LossRefused(
                "Strict mode: this request would lose something on its way to the model: "
                + "; ".join(f"{loss.field} ({loss.why})" for loss in losses),
                param=losses[0].field,
            )
        track.losses[:] = losses
        return body, forwarded

    def sent(
        self, track: Track, candidate: Candidate, target: Target, inspected: Inspected
    ) -> tuple[bytes | Pieces, dict[str, str]]:
        """As :meth:`written`, but that pictures which go on as they came are not copied.

        Raises:
            ClientError: as there.
        """
        short = inspected.short
        if short is not None and candidate.same_dialect:
            asked = msgspec.structs.replace(inspected, tree=short.tree)
            body, forwarded = self.written(track, candidate, target, asked)
            pieces = short.cut.whole(body)
            if pieces is not None:
                return pieces, forwarded
            track.losses.clear()
        return self.written(track, candidate, target, inspected)

    async def _addressed(
        self, track: Track, candidate: Candidate, body: bytes, forwarded: Mapping[str, str]
    ) -> UpstreamRequest:
        """The request with its address, headers and credential."""
        provider = candidate.provider
        own = track.own_keys[provider.id] if candidate.own_key else None
        kept = self._key_of(track, provider.id) if own is None else own.secret
        secret = await credential_of(provider, kept, self._tokens)
        request = self.request(track, candidate, body, forwarded, secret, own)
        return signed(request, provider, secret, self._clock.now_ms())

    def request(
        self,
        track: Track,
        candidate: Candidate,
        body: bytes,
        forwarded: Mapping[str, str],
        secret: str | None,
        own: OwnKey | None = None,
    ) -> UpstreamRequest:
        """The request with what is sent of a credential; not yet signed.

        Raises:
            ProviderNotConfigured: the account's own key is for another address.
        """
        assert track.inspected is not None
        provider, behind, stream = candidate.provider, self.behind(candidate), track.inspected.stream
        track.sent_secret = sent_secret(provider, secret)
        model = candidate.deployment.upstream_model
        url = behind.upstream_url(provider.base_url, track.call.operation, model, stream)
        if own is not None and origin_of(url) not in own.origins:
            raise ProviderNotConfigured(
                f"The address of {provider.name} is another than when the account's own key was set. Set it again."
            )
        headers = {
            "content-type": "application/json",
            **dict(behind.upstream_headers(stream)),
            **{name.lower(): value for name, value in provider.headers.items()},
            **forwarded,
            **told(provider.deadline_header, track.wish, track.due_us, self._clock.monotonic_us()),
            **credential_headers(provider, secret),
        }
        return UpstreamRequest(
            method="POST", url=addressed(url, provider, secret), headers=tuple(headers.items()), body=body
        )

    def _key_of(self, track: Track, provider: str) -> str | None:
        """The gateway's key at a provider; of several the one whose turn it is."""
        pool = track.state.key_pools.get(provider)
        if pool is None:
            return track.state.provider_keys.get(provider)
        key = track.pool_key = self.ring.pick(provider, pool, self._clock.now_ms(), track.keys_tried)
        return key.secret

    def behind(self, candidate: Candidate) -> Behind[Any, Any]:
        """How the candidate's provider is spoken to."""
        placement, spoken = candidate.provider.placement, self._dialects[candidate.dialect]
        return spoken if placement is None else placed(spoken, placement)

    async def _fetch(self, track: Track, provider: Provider) -> dict[str, Fetched]:
        """The bytes of the media whose URLs the provider does not take."""
        assert track.inspected is not None
        fetched: dict[str, Fetched] = {}
        for form, url in track.inspected.media_urls:
            if form in provider.takes_urls:
                continue
            if not track.state.fetch_media:
                raise UnsupportedContent(
                    f"{provider.name} takes no address of {form} content, and this gateway is not set to fetch "
                    "any (fetch.enabled). Send it as a data URL.",
                    param="messages",
                )
            fetched[url] = await self._fetch_once(track, url)
        return fetched

    async def _fetch_once(self, track: Track, url: str) -> Fetched:
        """What is behind a URL, or why it cannot be had: one request for all attempts."""
        if track.fetched is None:
            track.fetched = {}
        known = track.fetched.get(url)
        if known is None:
            try:
                known = await self._fetcher.fetch(url)
            except RouterError as error:
                known = error
            track.fetched[url] = known
        if isinstance(known, RouterError):
            raise known
        return known

    async def _call(self, track: Track, attempt: Attempt, request: UpstreamRequest) -> None:
        attempt.request = request
        behind = self.behind(attempt.candidate)
        began_us = self._clock.monotonic_us()
        try:
            reply = await self._upstream.send(request, deadlines_for(track, attempt.candidate, began_us))
        finally:
            now_us = self._clock.monotonic_us()
            track.upstream_us += now_us - began_us
        attempt.status = reply.status
        attempt.first_byte_us = now_us - began_us
        try:
            if not 200 <= reply.status < 300:
                raise self.refusal(behind, reply.status, reply.headers, await _error_body(reply))
            if track.inspected is not None and track.inspected.stream:
                await pump.stream(track, behind, reply, self._clock)
            else:
                await pump.whole(track, behind, reply, self._clock)
        finally:
            await reply.close()

    def refusal(
        self, behind: Behind[Any, Any], status: int, headers: Mapping[str, str], body: bytes
    ) -> UpstreamError:
        """What a reply says that is no success."""
        if 300 <= status < 400:
            return UpstreamError(
                f"The provider answered with a redirect ({status}), which is not followed. "
                "Its base URL in the configuration may be wrong.",
                kind=UpstreamKind.MALFORMED,
            )
        error = behind.decode_error(status, headers, body)
        if error.retry_after_s is None:  # a date may need our own clock to be read
            error.retry_after_s = header_retry_after_s(headers, self._clock.now_ms() / 1000)
        return error


def deadlines_for(track: Track, candidate: Candidate, now_us: int) -> Deadlines:
    """The deadlines of the call."""
    base = track.state.deadlines_for(candidate.deployment.model)
    left_s = base.total_s if track.due_us is None else (track.due_us - now_us) / 1_000_000
    stream = track.inspected is not None and track.inspected.stream
    return deadlines_of(
        base,
        track.wish,
        left_s,
        stream=stream,
        reasons=reasons(candidate),
        others=not stream and _others(track, candidate),
    )


def reasons(candidate: Candidate) -> bool:
    """Whether it may be silent for minutes because it thinks."""
    return (candidate.deployment.capabilities or candidate.model.capabilities).reasoning


def _others(track: Track, candidate: Candidate) -> bool:
    """Whether another deployment may be asked if this one fails."""
    admitted = track.admitted
    if admitted is None or len(track.attempts) + 1 >= track.state.retries.attempts_max:
        return False
    if not track.attempts:
        return len(admitted.plan.candidates) > 1 or "general" in admitted.fallbacks
    tried = {attempt.deployment for attempt in track.attempts} | {candidate.deployment.id}
    every = (*admitted.plan.candidates, *admitted.fallbacks.get("general", ()))
    return any(each.deployment.id not in tried for each in every)


async def _error_body(reply: UpstreamReply) -> bytes:
    """The body of an error reply, or nothing when it cannot be read: the status says enough."""
    try:
        return await reply.read(ERROR_BYTES_MAX)
    except UpstreamError:
        return b""


def target_of(track: Track, candidate: Candidate) -> Target:
    """The deployment as the wire needs to know it."""
    assert track.admitted is not None
    return target_for(candidate, track.admitted.output_tokens_cap)


def target_for(candidate: Candidate, output_tokens_cap: int | None) -> Target:
    """The same, for all requests of that limit."""
    deployment, provider, model = candidate.deployment, candidate.provider, candidate.model
    most = deployment.output_tokens_max
    return Target(
        provider=provider.id,
        model=deployment.upstream_model,
        dialect=candidate.dialect,
        capabilities=deployment.capabilities or model.capabilities,
        output_tokens_max=model.output_tokens_max if most is None else most,
        quirks=provider.quirks + deployment.quirks,
        output_tokens_cap=output_tokens_cap,
        takes_urls=provider.takes_urls,
        knows=provider.knows,
        base_names=deployment.base_names,
    )


def _written_plainly(
    call: Call, behind: Behind[Any, Any], target: Target, inspected: Inspected
) -> bytes | None:
    """A plain request in another dialect, where that has a word for all of it."""
    front = call.dialect
    if behind.write_plain is None or behind.place is not None:
        return None
    if not isinstance(front, Dialect) or front.plain_request is None:
        return None
    return behind.write_plain(front.plain_request(inspected), target)


def _forwarded(track: Track, behind: Behind[Any, Any]) -> dict[str, str]:
    """The client's headers that belong to the dialect, which is spoken on both sides."""
    given = track.call.headers
    return {name: given[name] for name in behind.forwards if name in given}


def _redact(error: UpstreamError, candidate: Candidate, track: Track) -> None:
    """Name the provider, and take its credentials out of everything it said."""
    provider = candidate.provider
    error.provider = provider.id
    redact_error(error, track.sent_secret)
    for key in track.state.key_pools.get(provider.id, ()):
        redact_error(error, key.secret)
    netloc = urlsplit(provider.base_url).netloc
    if netloc:  # where an operator's own provider lives is not the client's business
        error.message = error.message.replace(netloc, provider.name)
    if error.kind is UpstreamKind.ADDRESS:
        error.message = (
            f"The provider {provider.name} takes no such request at its address (your own request is fine; the operator "
            f"of this gateway has to mend base_url or dialect of providers.{provider.id}): {error.message}"
        )
    elif candidate.own_key and error.kind in _OURS_TO_MEND:
        error.message = f"The provider {provider.name} refused your account's own key for it: {error.message}"
    elif error.kind in _OURS_TO_MEND:
        what = "refused" if error.suspected is None else "refused this request, or"
        error.message = (
            f"The provider {provider.name} {what} this gateway's {_OURS_TO_MEND[error.kind]} "
            f"(your own API key and credit are fine): {error.message}"
        )


def _record(track: Track, attempt: Attempt, now_us: int) -> AttemptRecord:
    error = attempt.error
    seen = track.delivery.observed if track.delivery is not None else None
    return AttemptRecord(
        deployment=attempt.candidate.deployment.id,
        provider=attempt.candidate.provider.id,
        upstream_model=attempt.candidate.deployment.upstream_model,
        started_ms=attempt.started_ms,
        duration_ms=(now_us - attempt.started_us) // 1000,
        outcome=attempt.outcome,
        status=attempt.status,
        first_byte_ms=attempt.first_byte_us // 1000 if attempt.first_byte_us is not None else None,
        error_kind=error.kind.value if isinstance(error, UpstreamError) else (error.code if error else None),
        error_message=error.message[:500] if error is not None else None,
        upstream_id=seen.upstream_id if seen is not None else None,
        usage=seen.usage if seen is not None else None,
        operator_cost_pusd=_operator_cost(track, attempt, seen.usage if seen is not None else None),
        byok=attempt.candidate.own_key,
        key=None if track.pool_key is None else track.pool_key.mark,
    )


def _operator_cost(track: Track, attempt: Attempt, usage: Usage | None) -> int | None:
    """What the provider bills for a usage that it reported."""
    deployment = attempt.candidate.deployment
    if attempt.candidate.own_key:
        return 0
    if usage is None or deployment.operator_price is None:
        return None
    lines, _, unpriced = rate(usage, deployment.operator_price, lambda model: price_of(track, model))
    cost_pusd = sum(line.amount_pusd for line in lines)
    return None if unpriced or cost_pusd > MAX_PUSD else cost_pusd
