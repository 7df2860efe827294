"""The session cookie."""

from gateway.identity.credentials import Network
from gateway.web.session_cookie import only_cookie


def test_only_the_cookie_is_looked_at() -> None:
    """Whose session ends at a new login is for the cookie alone to say: not for a token, a path, or a network."""
    cookie, token = (b"cookie", b"cgw_session=x"), (b"authorization", b"Bearer y")
    about = {"path_token": "cgw_z", "ambient": (Network("kiosk"),), "client_ip": "1.1.1.1"}
    scope = {"headers": [cookie, token, (b"x-api-key", b"z")], "query_string": b"token=z", "gateway": about}
    alone = only_cookie(scope)
    assert alone["headers"] == [cookie] and alone["query_string"] == b""
    assert alone["gateway"] == {"path_token": None, "ambient": (), "client_ip": "1.1.1.1"}
    assert about["path_token"] == "cgw_z"
