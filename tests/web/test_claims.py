"""Files that only say something of others: what their answers promise."""

import hashlib

import httpx

from tests.web.conftest import make_repository


def test_a_checksum_is_compared_or_said_not_to_be(admin: httpx.Client) -> None:
    """Goal: no answer vouches for a checksum that nobody compared. Method: a .sha1 before its file, after it, and a
    wrong one. Seen to fail with every claim called accepted.
    """
    name = make_repository(admin)
    url = f"/{name}/maven2/org/example/app/1.0/app-1.0.txt"
    digest = hashlib.sha1(b"text").hexdigest()

    def told(answer: httpx.Response) -> tuple[int, str, bool]:
        document = answer.json()
        return answer.status_code, document["status"], document["indexed"]

    assert told(admin.put(f"{url}.sha1", content=digest)) == (200, "unchecked", False)
    assert admin.put(url, content=b"text").status_code == 201
    assert told(admin.put(f"{url}.sha1", content=digest)) == (200, "accepted", True)
    wrong = admin.put(f"{url}.sha1", content="0" * 40)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "digest_mismatch")
