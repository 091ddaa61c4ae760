#!/usr/bin/env python3
"""Verify receipts of LLM Router, offline, with nothing but Python 3.9 or later.

    curl -O https://GATEWAY/.well-known/llm-router-receipts.json
    python verify_receipts.py receipts.jsonl --keys llm-router-receipts.json

FILE holds receipts: one JSON object a line, as ``llm-router receipts export`` writes them, one as
``GET /v1/generations/{id}/receipt`` answers it, a page of ``GET /v1/receipts``, or bare JWS lines. Checked are

    signature   Ed25519 (RFC 8032) over the JWS (RFC 7515), by one of the keys
    chain       numbers without a gap, each receipt holds the SHA-256 of the one before it
    sums        quantity x rate = amount of every line, lines = charge + what the operator bore,
                balance = balance before + amount

The exit status is 0 if all is well, 1 at the first doubt, 2 if the files cannot be read.
"""

import argparse
import base64
import hashlib
import json
import sys
from decimal import Decimal, localcontext

# -- Ed25519 (RFC 8032, section 5.1): verification only, so nothing here is secret --------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def _recover_x(y, sign):
    """The x of a point with that y and sign; None if there is no such point."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P != 0:
        return None
    return P - x if x % 2 != sign else x


def _decompress(data):
    """A point in extended coordinates; None if the bytes are none."""
    number = int.from_bytes(data, "little")
    y = number % 2**255
    x = _recover_x(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def _add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(factor, point):
    result = (0, 1, 1, 0)
    while factor > 0:
        if factor & 1:
            result = _add(result, point)
        point = _add(point, point)
        factor >>= 1
    return result


_BASE_Y = 4 * pow(5, P - 2, P) % P
_BASE_X = _recover_x(_BASE_Y, 0)
BASE = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def verify_ed25519(public, message, signature):
    """Whether ``signature`` (64 bytes) of ``message`` was made with the key of ``public`` (32 bytes)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, commitment = _decompress(public), _decompress(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    left = _times(scalar, BASE)
    right = _add(commitment, _times(int.from_bytes(digest, "little") % ORDER, key))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


# -- receipts -----------------------------------------------------------------------------------------


class Doubt(Exception):
    """Something does not agree; the message says what."""


def _unbase64(text):
    """The bytes of a text in base64url without padding; ValueError if it is not the one text of these bytes."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise ValueError("this is not the base64url of anything")
    return data


def read_keys(text):
    """Public keys by id, from a JWK set or a single key in base64url (whose id is then ignored)."""
    text = text.strip()
    if not text.startswith("{"):
        return {None: _unbase64(text.rstrip("="))}
    return {
        key["kid"]: _unbase64(key["x"])
        for key in json.loads(text)["keys"]
        if (key.get("kty"), key.get("crv")) == ("OKP", "Ed25519")
    }


def read_file(text):
    """The (JWS, what is shown beside it) of a file."""
    try:
        found = [json.loads(text)]
    except ValueError:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        found = [json.loads(line) if line.startswith("{") else line for line in lines]
    items = []
    for item in found:
        items += item["data"] if isinstance(item, dict) and item.get("object") == "list" else [item]
    return [(i.get("jws"), i) if isinstance(i, dict) else (i, {}) for i in items]


def open_jws(jws, keys):
    """The text that was signed."""
    try:
        head, body, signature = jws.split(".")
        members, text, signed = json.loads(_unbase64(head)), _unbase64(body), _unbase64(signature)
        algorithm, key = members.get("alg"), members.get("kid")
    except (ValueError, AttributeError, RecursionError):
        raise Doubt("this is no JWS") from None
    if algorithm != "EdDSA":
        raise Doubt(f"the algorithm is {algorithm!r}, not EdDSA")
    public = keys.get(key, keys.get(None))
    if public is None:
        raise Doubt(f"it was signed with the key {key}, which is not among those given")
    if not verify_ed25519(public, (head + "." + body).encode(), signed):
        raise Doubt("the signature is wrong")
    return text


def check_sums(receipt):
    """The figures of one receipt, in themselves."""
    exchange = receipt.get("exchange")
    amount = Decimal(receipt["amount"])
    if receipt["kind"] == "use":
        if exchange is None or receipt["ref"] != "use:" + exchange["id"]:
            raise Doubt("it does not name the exchange that it charges")
        lines = exchange["lines"]
        for line in lines:
            if line["quantity"] * Decimal(line["rate"]) != Decimal(line["amount"]):
                raise Doubt(f"its line of {line['bucket']} does not multiply")
        total = sum((Decimal(line["amount"]) for line in lines), Decimal(0))
        if total != Decimal(exchange["absorbed"]) - amount:
            raise Doubt(f"its lines come to {total}, which is not what was charged")
    if (amount > 0) != (receipt["kind"] == "grant") or amount == 0:
        raise Doubt(f"an amount of {receipt['amount']} is none of its kind")


def check_chain(before, receipt, text_before):
    """A receipt after the one that stands before it in the file (None: there is none)."""
    number, balance = receipt["number"], Decimal(receipt["balance"])
    if before is None:
        if number == 1 and (receipt["previous"] != "0" * 64 or balance != Decimal(receipt["amount"])):
            raise Doubt("it is the first one and does not begin with nothing")
        return
    if number != before["number"] + 1:
        raise Doubt(f"it follows number {before['number']}: there is a gap")
    if receipt["previous"] != hashlib.sha256(text_before).hexdigest():
        raise Doubt("it does not hold the hash of the one before it")
    if balance != Decimal(before["balance"]) + Decimal(receipt["amount"]):
        raise Doubt("its balance is not the one before plus its amount")


def verify(items, keys, chain=True):
    """Check all; return how many of which accounts, and their first number and last receipt. Raises Doubt."""
    last, first, counts = {}, {}, {}
    for place, (jws, shown) in enumerate(items, 1):
        try:
            text = open_jws(jws, keys)
            receipt = json.loads(text)
            if receipt.get("v") != 1:
                raise Doubt(f"it is of version {receipt.get('v')!r}, which this program does not know")
            if shown.get("receipt", receipt) != receipt or shown.get("id", receipt["ref"]) != receipt["ref"]:
                raise Doubt("what it shows is not what was signed")
            check_sums(receipt)
            before, text_before = last.get(receipt["account"], (None, b"")) if chain else (None, b"")
            check_chain(before, receipt, text_before)
        except Doubt as doubt:
            raise Doubt(f"receipt {place} of the file: {doubt}") from None
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise Doubt(f"receipt {place} of the file is malformed: {error!r}") from None
        last[receipt["account"]] = (receipt, text)
        first.setdefault(receipt["account"], receipt["number"])
        counts[receipt["account"]] = counts.get(receipt["account"], 0) + 1
    return counts, {account: (first[account], pair[0]) for account, pair in last.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description="Verify receipts of LLM Router, offline.")
    parser.add_argument("file", help="the receipts ('-' is standard input)")
    parser.add_argument("--keys", required=True, help="the JWK set of the gateway, or one public key")
    parser.add_argument("--no-chain", action="store_true", help="the file holds single receipts, with gaps")
    arguments = parser.parse_args(argv)
    wanted = "it holds no receipts as llm-router receipts export writes them"
    place, form = arguments.file, wanted
    try:
        if arguments.file == "-":
            text = sys.stdin.read()
        else:
            with open(arguments.file, encoding="utf-8") as file:
                text = file.read()
        place, form = arguments.keys, "it is no key set as /.well-known/llm-router-receipts.json answers it"
        with open(arguments.keys, encoding="utf-8") as file:
            keys = read_keys(file.read())
        place, form = arguments.file, wanted
        items = read_file(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"{place}: {form}"
        print(f"cannot be read: {why}", file=sys.stderr)
        return 2
    try:
        with localcontext() as context:
            context.prec = 60
            counts, last = verify(items, keys, chain=not arguments.no_chain)
    except Doubt as doubt:
        print(f"DOUBT: {doubt}.")
        return 1
    how = "signed" if arguments.no_chain else "signed and chained without a gap"
    for account, count in sorted(counts.items()):
        first, end = last[account]
        number, balance = end["number"], end["balance"]
        print(f"{account}: {count} receipts up to number {number}, all {how}. Balance after it: ${balance}.")
        if first != 1 and not arguments.no_chain:
            print(f"The first one in the file has number {first}: compare its 'previous' with what you kept.")
    if not counts:
        print("DOUBT: the file holds no receipt.")
    return 0 if counts else 1


if __name__ == "__main__":
    sys.exit(main())
