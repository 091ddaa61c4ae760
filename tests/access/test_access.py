"""Who may do what: roles, scopes, what may be given away, and where requests come from."""

from __future__ import annotations

import pytest

from llm_router.access.addresses import client_address, is_inside, parse_range, within
from llm_router.access.grants import check_key_grant, check_role_grant, grantable_scopes
from llm_router.access.permissions import HOUSE, OBJECTS, OPERATOR, ROLES, SCOPES, of_scopes
from llm_router.access.subject import (
    Subject,
    check,
    check_house,
    subject_of_key,
    subject_of_person,
)
from llm_router.domain.account import Account, KeyScope, Member, Person, Role, member_id
from llm_router.domain.errors import Forbidden, NotFound
from llm_router.domain.key import Key


def key(*scopes: KeyScope, **fields) -> Key:
    values = {"id": "key_1", "account": "acme", "name": "k", "prefix": "sk", "created_ms": 0, **fields}
    return Key(**values, scopes=scopes or None)


def person(role: Role | None = None, *, operator: bool = False, account: str = "acme") -> Subject:
    roles = {} if role is None else {account: role}
    return Subject(id="usr_1", name="ada@example.com", roles=roles, operator=operator)


def test_every_role_holds_less_than_the_one_above():
    assert ROLES[Role.OWNER] > ROLES[Role.ADMIN] > ROLES[Role.DEVELOPER]
    assert ROLES[Role.ADMIN] > ROLES[Role.BILLING]
    assert ROLES[Role.OWNER] < OPERATOR
    assert set(ROLES) == set(Role)
    assert set(SCOPES) == set(KeyScope)


def test_no_role_and_no_scope_holds_what_belongs_to_the_house():
    house = {f"{kind}:{act}" for kind in HOUSE for act in ("read", "write")} - {"model:read"}
    for permissions in (*ROLES.values(), *SCOPES.values()):
        assert not permissions & house


def test_who_may_write_may_read():
    for permissions in (*ROLES.values(), *SCOPES.values(), OPERATOR):
        for kind in OBJECTS:
            assert f"{kind}:write" not in permissions or f"{kind}:read" in permissions


def test_what_is_of_another_account_is_not_there():
    for subject in (
        person(Role.OWNER, account="bolt"),
        subject_of_key(key(KeyScope.ADMIN, account="bolt")),
        person(),
    ):
        for permission in ("key:read", "key:write"):
            with pytest.raises(NotFound, match="account 'acme'"):
                check(subject, permission, "acme")
            with pytest.raises(NotFound, match="key 'key_9'"):
                check(subject, permission, "acme", "key 'key_9'")


def test_what_one_sees_but_may_not_do_is_forbidden():
    check(person(Role.VIEWER), "key:read", "acme")
    with pytest.raises(Forbidden, match="role viewer"):
        check(person(Role.VIEWER), "key:write", "acme", "key 'key_9'")
    with pytest.raises(Forbidden, match="scopes: inference, models, usage"):
        check(subject_of_key(key()), "key:write", "acme")


def test_an_object_of_a_kind_that_one_may_not_read_is_not_there():
    with pytest.raises(NotFound, match="key 'key_9'"):
        check(subject_of_key(key()), "key:write", "acme", "key 'key_9'")
    with pytest.raises(Forbidden):
        check(person(Role.VIEWER), "audit:read", "acme")


def test_the_operator_may_do_all_in_every_account():
    for kind in OBJECTS:
        check(person(operator=True), f"{kind}:write", "anything")
    check_house(person(operator=True), "provider:write")
    for subject in (person(Role.OWNER), subject_of_key(key(*KeyScope))):
        with pytest.raises(Forbidden):
            check_house(subject, "provider:read")
        with pytest.raises(NotFound):
            check_house(subject, "provider:read", "provider 'x'")


def test_roles_in_closed_accounts_count_for_nothing():
    ada = Person(id="usr_1", email="ada@example.com", title="Ada", created_ms=0)
    members = [
        Member(id=member_id(a, "usr_1"), account=a, person="usr_1", role=Role.OWNER, created_ms=0)
        for a in ("acme", "gone")
    ]
    gone = Account(id="gone", title="", created_ms=0, closed_ms=5)
    subject = subject_of_person(ada, members, {"gone": gone}, "ses_1")
    assert subject.accounts() == ("acme",)
    with pytest.raises(NotFound):
        check(subject, "key:read", "gone")


def test_a_plain_key_has_the_scopes_that_keys_always_had():
    assert of_scopes(None) == of_scopes((KeyScope.INFERENCE, KeyScope.MODELS, KeyScope.USAGE))
    assert "inference:use" not in of_scopes((KeyScope.KEYS,))
    assert "key:write" in of_scopes((KeyScope.KEYS,))
    assert of_scopes(()) == frozenset()


@pytest.mark.parametrize("giver", Role)
@pytest.mark.parametrize("given", Role)
def test_nobody_gives_a_role_that_holds_more(giver, given):
    if ROLES[given] <= ROLES[giver]:
        check_role_grant(person(giver), "acme", given)
    else:
        with pytest.raises(Forbidden, match=given.value):
            check_role_grant(person(giver), "acme", given)
    with pytest.raises(Forbidden):
        check_role_grant(person(giver, account="bolt"), "acme", given)


@pytest.mark.parametrize("given", Role)
def test_a_key_of_an_admin_gives_the_roles_that_an_admin_gives(given):
    maker = subject_of_key(key(KeyScope.ADMIN))
    if ROLES[given] <= ROLES[Role.ADMIN]:
        check_role_grant(maker, "acme", given)  # as it makes keys that ask models, and asks none itself
    else:
        with pytest.raises(Forbidden, match=r"holds more than you have \(account:write\)"):
            check_role_grant(maker, "acme", given)
    for other in (KeyScope.KEYS, KeyScope.INFERENCE):
        with pytest.raises(Forbidden, match="holds more"):
            check_role_grant(subject_of_key(key(other)), "acme", given)


def test_what_holds_for_all_accounts_no_role_changes():
    for role in Role:
        assert not {"preset:write", "experiment:read", "experiment:write"} & ROLES[role]
    assert {"preset:write", "experiment:read", "experiment:write"} <= OPERATOR


@pytest.mark.parametrize("giver", [*Role, None])
def test_members_give_scopes_as_far_as_they_reach(giver):
    subject = person(giver)
    for scope in KeyScope:
        made = key(scope)
        if scope in grantable_scopes(subject, "acme"):
            # what the key may do, its maker may do too
            assert SCOPES[scope] <= subject.permissions("acme") | {"usage:read"}
            check_key_grant(subject, made)
        else:
            with pytest.raises(Forbidden, match="scopes"):
                check_key_grant(subject, made)


def test_a_management_key_makes_keys_for_use_but_none_that_hold_more():
    maker = subject_of_key(key(KeyScope.KEYS))
    check_key_grant(maker, key(KeyScope.INFERENCE))
    check_key_grant(maker, key())
    with pytest.raises(Forbidden, match="admin"):
        check_key_grant(maker, key(KeyScope.ADMIN))
    with pytest.raises(Forbidden):
        check_key_grant(subject_of_key(key()), key(KeyScope.INFERENCE))
    with pytest.raises(Forbidden):
        check_key_grant(subject_of_key(key(KeyScope.ADMIN)), key(account="bolt"))


@pytest.mark.parametrize(
    ("own", "given", "param"),
    [
        ({"models": ("gpt-*",)}, {"models": ("gpt-5",)}, None),
        ({"models": ("gpt-*",)}, {"models": ("gpt-*",)}, None),
        ({"models": ("gpt-*",)}, {"models": ("gpt-[5]",)}, "models"),
        ({"models": ("gpt-*",)}, {"models": None}, "models"),
        ({"models": ("gpt-*",)}, {"models": ("gpt-5", "claude-4")}, "models"),
        ({"providers": ("openai",)}, {"providers": ("openai",)}, None),
        ({"providers": ("openai",)}, {"providers": None}, "providers"),
        ({"ip_ranges": ("10.0.0.0/8",)}, {"ip_ranges": ("10.1.0.0/16",)}, None),
        ({"ip_ranges": ("10.0.0.0/8",)}, {"ip_ranges": ("10.0.0.0/7",)}, "ip_ranges"),
        ({"ip_ranges": ("10.0.0.0/8",)}, {"ip_ranges": None}, "ip_ranges"),
        ({"expires_ms": 100}, {"expires_ms": 100}, None),
        ({"expires_ms": 100}, {"expires_ms": 101}, "expires"),
        ({"expires_ms": 100}, {}, "expires"),
    ],
)
def test_a_key_gives_no_more_than_it_has(own, given, param):
    maker = subject_of_key(key(KeyScope.KEYS, **own))
    if param is None:
        check_key_grant(maker, key(**given))
    else:
        with pytest.raises(Forbidden) as refused:
            check_key_grant(maker, key(**given))
        assert refused.value.param == param


def test_ranges_of_addresses():
    assert parse_range(" 10.0.0.0/8 ") == "10.0.0.0/8"
    assert parse_range("192.0.2.7") == "192.0.2.7/32"
    for wrong in ("10.0.0.1/8", "ten", "", "10.0.0.0/33"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_range(wrong)
    assert is_inside("10.1.2.3", ("10.0.0.0/8",))
    assert is_inside("::ffff:10.1.2.3", ("10.0.0.0/8",))
    assert not is_inside("11.1.2.3", ("10.0.0.0/8", "2001:db8::/32"))
    assert is_inside("2001:db8::1", ("10.0.0.0/8", "2001:db8::/32"))
    assert not is_inside("unix", ("0.0.0.0/0",))
    assert within(None, None)
    assert not within(("10.0.0.0/8",), ("2001:db8::/32",))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),  # nobody trusts who says so
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (
            "10.0.0.1",
            "198.51.100.1, 203.0.113.9",
            "203.0.113.9",
        ),  # what the client itself wrote is not believed
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::5]:4711", "2001:db8::5"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
    ],
)
def test_only_trusted_proxies_say_who_asks(peer, forwarded, found):
    assert client_address(peer, forwarded, ("10.0.0.0/8",)) == found


def test_without_trusted_proxies_the_connection_says_who_asks():
    assert client_address("10.0.0.1", "203.0.113.9", ()) == "10.0.0.1"
