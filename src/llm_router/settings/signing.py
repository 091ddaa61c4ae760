"""Sign in to providers: find each one's address and key, or say what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from llm_router.domain.model import Provider
from llm_router.ports import MACHINE_CREDENTIALS
from llm_router.settings.addresses import fill
from llm_router.settings.aws import PAIR, aws_key, environment_key, lacks_region
from llm_router.settings.google import google_key, library_lacking, named_credentials, usual_credentials
from llm_router.settings.problems import KeyPath, Problems
from llm_router.settings.providers import in_the_open, wrong_base_url
from llm_router.settings.schema import ProviderTable
from llm_router.settings.secrets import Secret, SecretError, read_reference, usable

NO_LIBRARY = (
    "Google's credentials library is not installed: run  pip install '.[vertex]'  in the checkout of LLM Router, "
    "or  pip install google-auth requests  elsewhere"
)
"""Why a provider with Google credentials is not active."""

KEYS_MAX = 100
"""Keys of one provider."""


class Signer:
    """Finds each provider's credential and says why a provider is not active."""

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        problems: Problems,
        *,
        used: Collection[str],
        read: bool,
        google_lacking: Callable[[], bool] = library_lacking,
    ) -> None:
        """
        Args:
            google_lacking: whether the library for Google's tokens is not installed.
            used: providers at which the file's models are deployed.
            read: whether credentials are looked at.
        """
        self._environ = environ
        self._folder = folder
        self._problems = problems
        self._used = used
        self._read = read
        self._google_lacking = google_lacking
        self.providers: dict[str, Provider] = {}
        self.keys: dict[str, Secret] = {}
        self.pools: dict[str, tuple[Secret, ...]] = {}
        self.inactive: dict[str, str] = {}
        self.warnings: list[str] = []

    def sign(self, provider: Provider, table: ProviderTable | None) -> None:
        """Resolve the provider's address and key; note why it cannot be called, if so."""
        filled, missing = fill(provider, table, self._environ)
        url = filled.base_url
        self.providers[provider.id] = filled
        if table is not None and not table.enabled:
            self.inactive[provider.id] = "switched off in the configuration"
            return
        wanted = table is not None or provider.id in self._used
        key = self._key(provider, table, wanted=wanted)
        if key is not None:
            self.keys[provider.id] = key
            others = self._others(provider, table, key)
            if others:
                self.pools[provider.id] = (key, *others)
        reason = self._lacks(provider, key, missing, wanted=wanted)
        if reason is None and url != provider.base_url and (wrong := wrong_base_url(url)):
            reason = f"its address {wrong}"
        if reason is None and key is not None and lacks_region(provider, url, key):
            reason = f"set auth_name under [providers.{provider.id}] to the AWS region to sign for"
        if reason is None and provider.auth == "google" and key is not None and self._google_lacking():
            reason = NO_LIBRARY
            self.warnings.append(f"{provider.id}: is not active: {NO_LIBRARY}")
        if reason is not None:
            self.inactive[provider.id] = reason
        if provider.auth != "google" or wanted:  # those credentials are for many ends
            self._warn(provider.id, url, key, missing)

    def _lacks(
        self, provider: Provider, key: Secret | None, missing: tuple[str, ...], *, wanted: bool
    ) -> str | None:
        """What the operator has to do for it to be active; None if nothing."""
        needs = list(missing)
        if key is None and provider.key_required:
            names = (
                [*provider.env, " with ".join(PAIR)] if provider.auth == "sigv4" and wanted else provider.env
            )
            needs.append(" or ".join(names) or f'key = "env:NAME" under [providers.{provider.id}]')
        if needs:
            return f"set {' and '.join(needs)}"
        if key is None and not wanted:
            # Servers on this machine need no key, so only a word of the operator tells that one runs.
            return f"needs no key; add [providers.{provider.id}] or a model of yours there"
        return None

    def _warn(self, id_: str, url: str, key: Secret | None, missing: tuple[str, ...]) -> None:
        if key is not None and missing:
            self.warnings.append(f"{id_}: has a key, but its address needs {' and '.join(missing)}")
        elif key is not None and key.reveal() != MACHINE_CREDENTIALS and in_the_open(url):
            self.warnings.append(f"{id_}: its key is sent to {url} without encryption")

    def _key(self, provider: Provider, table: ProviderTable | None, *, wanted: bool) -> Secret | None:
        if not self._read or provider.auth == "none":
            return None
        if table is not None and table.keys:
            return self._named(provider, table.keys[0], ("providers", provider.id, "keys[0]"))
        if table is not None and table.key is not None:
            return self._named(provider, table.key, ("providers", provider.id, "key"))
        if provider.auth == "google":
            return self._google_key(provider, wanted=wanted)
        for name in provider.env:
            if not self._environ.get(name, "").strip():
                continue
            try:
                return usable(self._environ[name], f"the environment variable {name}")
            except SecretError as error:
                self.warnings.append(f"{provider.id}: {error}")
        if provider.auth == "sigv4" and wanted:
            # Many machines have an access key for other ends: without a word of the operator it is left alone.
            try:
                return environment_key(self._environ)
            except SecretError as error:
                self.warnings.append(f"{provider.id}: {error}")
        return None

    def _named(self, provider: Provider, reference: str, path: KeyPath) -> Secret | None:
        """The key that the file names."""
        try:
            if provider.auth == "google":
                return google_key(reference, self._environ, self._folder)
            key = read_reference(reference, self._environ, self._folder)
            return aws_key(key) if provider.auth == "sigv4" else key
        except SecretError as error:
            self._problems.add(path, str(error))
            return None

    def _others(self, provider: Provider, table: ProviderTable | None, first: Secret) -> list[Secret]:
        """Further keys of a provider: those of the file; else of the variables ``NAME_2``, ``NAME_3`` and so
        on, beside the one that holds the first."""
        if table is not None and (table.keys or table.key is not None):
            path = ("providers", provider.id)
            named = [
                self._named(provider, reference, (*path, f"keys[{at}]"))
                for at, reference in enumerate(table.keys[1:], start=1)
            ]
            return [key for key in named if key is not None]
        if provider.auth in ("google", "sigv4", "none"):
            return []
        return [key for key in self._numbered(provider) if key != first]

    def _numbered(self, provider: Provider) -> list[Secret]:
        name = next((n for n in provider.env if self._environ.get(n, "").strip()), None)
        found: list[Secret] = []
        for number in range(2, KEYS_MAX + 1):
            text = self._environ.get(f"{name}_{number}", "") if name is not None else ""
            if not text.strip():
                break
            try:
                found.append(usable(text, f"the environment variable {name}_{number}"))
            except SecretError as error:
                self.warnings.append(f"{provider.id}: {error}")
        return found

    def _google_key(self, provider: Provider, *, wanted: bool) -> Secret | None:
        """Application default credentials: of the variable; with a word of the operator, gcloud's too."""
        try:
            for name in provider.env:
                if (key := named_credentials(name, self._environ)) is not None:
                    return key
            return usual_credentials(self._environ) if wanted else None
        except SecretError as error:
            self.warnings.append(f"{provider.id}: {error}")
            return None
