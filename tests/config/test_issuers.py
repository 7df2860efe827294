"""The settings about people whom somebody else knows."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, Settings, load, origin_of

SSO = 'public_url = "https://gw.example"\n[sso.company]\nissuer = "https://login.example"\nclient_id = "comfy"\n'
ISSUER = '[[issuers]]\nissuer = "https://login.example"\naudience = "comfy"\n'


def given(tmp_path: Path, toml: str, **environ: str) -> Settings:
    file = tmp_path / "gateway.toml"
    file.write_text(toml)
    return load(config=file, flags={}, environ={"HOME": "/home/ann", **environ})


def problems(tmp_path: Path, toml: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        given(tmp_path, toml, **environ)
    return "\n".join(caught.value.problems)


def test_all_of_it_is_off_by_default(tmp_path: Path) -> None:
    """Nobody else is believed until the settings say so."""
    settings = given(tmp_path, "")
    assert (settings.issuers, settings.sso, settings.identity_header, settings.networks) == ((), {}, None, {})


def test_a_provider_and_its_defaults(tmp_path: Path) -> None:
    """What a provider needs is an issuer, a client, and who may come in; the rest has defaults."""
    provider = given(tmp_path, SSO + 'allowed_domains = "Example.org, other.example"').sso["company"]
    assert provider.allowed_domains == ("example.org", "other.example")
    assert (provider.algorithms, provider.subject_claim, provider.groups_claim) == (("RS256",), "sub", "groups")
    assert (provider.scopes, provider.default_role, provider.create_users) == (
        ("openid", "profile", "email"),
        "member",
        True,
    )
    issuer = given(tmp_path, ISSUER).issuers[0]
    assert (issuer.audience, issuer.create_users, issuer.leeway_seconds) == (("comfy",), False, 30)


def test_who_may_come_in_has_to_be_said(tmp_path: Path) -> None:
    """Where newcomers become users, domains or groups are listed, or “*”, which is everybody."""
    assert "who may come in?" in problems(tmp_path, SSO)
    assert "who may come in?" in problems(tmp_path, ISSUER + "create_users = true")
    for line in ('allowed_domains = ["*"]', 'allowed_groups = ["x"]', "create_users = false"):
        assert given(tmp_path, SSO + line).sso


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519", "PS256", "HS256", "none", "rs256", ""])
def test_algorithms_that_cannot_be_verified(tmp_path: Path, name: str) -> None:
    """What the library cannot verify, or what is no public signature, is refused at once."""
    assert "RS256" in problems(tmp_path, ISSUER + f'algorithms = ["RS256", "{name}"]')
    assert "algorithms" in problems(tmp_path, ISSUER + "algorithms = []")


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example",
        "login.example",
        "https://",
        "https://u:p@x",
        "https://x?y",
        "https://x#y",
        "https://x y",
        "https://é",
    ],
)
def test_what_is_no_issuer(tmp_path: Path, issuer: str) -> None:
    """An issuer is an https address; http is for this machine alone."""
    assert issuer in problems(tmp_path, ISSUER.replace("https://login.example", issuer))
    assert given(tmp_path, ISSUER.replace("https://login.example", "http://127.0.0.1:8080/x/")).issuers


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('subject_claim = "email"', "can change"),
        ('subject_claim = "preferred_username"', "can change"),
        ('default_role = "admin"', "must not be an administrator's"),
        ('default_role = "boss"', "there is no role “boss”"),
        ('roles = { "x" = "boss" }', "there is no role “boss”"),
        ('allowed_domains = ["@example.org"]', "no domain"),
        ('allowed_domains = ["*.example.org"]', "no domain"),
        ('allowed_domains = ["example"]', "no domain"),
        ("leeway_seconds = 3600", "leeway_seconds"),
        ('scopes = ["profile"]', "openid"),
        ('client_secret_file = "/nowhere/secret"', "/nowhere/secret"),
        ('colour = "red"', "is no setting"),
    ],
)
def test_what_a_provider_must_not_say(tmp_path: Path, line: str, words: str) -> None:
    """What would let the wrong people in, or means nothing, is refused, with a word about why."""
    text = SSO + ("" if "allowed_domains" in line else 'allowed_domains = ["*"]\n') + line
    assert words in problems(tmp_path, text)


def test_single_sign_on_needs_a_public_address(tmp_path: Path) -> None:
    """A provider has to know where to send people back."""
    text = SSO.partition("\n")[2] + 'allowed_domains = ["*"]'
    assert "public_url" in problems(tmp_path, text)


def test_names_of_providers(tmp_path: Path) -> None:
    """A name is part of an address."""
    for name in ('"../x"', "X", '"a b"', '"a/b"', "_x"):
        assert "sso" in problems(tmp_path, SSO.replace("sso.company", f"sso.{name}") + 'allowed_domains = ["*"]')


def test_where_a_client_secret_may_be(tmp_path: Path) -> None:
    """In the file, in another file, or in the environment, which beats both; it is shown nowhere."""
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    text = SSO + f'allowed_domains = ["*"]\nclient_secret_file = "{secret}"\n'

    def found(settings: Settings) -> Any:
        value = settings.sso["company"].client_secret
        return None if value is None else value.get_secret_value()

    assert found(given(tmp_path, text)) == "from-file"
    assert found(given(tmp_path, text + 'client_secret = "here"')) == "here"
    settings = given(tmp_path, text, GATEWAY_SSO_COMPANY_CLIENT_SECRET="from-environment")
    assert found(settings) == "from-environment" and "from-environment" not in repr(settings)
    assert origin_of(settings, "sso.company.client_secret") == "environment"
    assert found(given(tmp_path, SSO + 'allowed_domains = ["*"]')) is None
    assert "GATEWAY_SSO_OTHER_CLIENT_SECRET" in problems(tmp_path, text, GATEWAY_SSO_OTHER_CLIENT_SECRET="x")
    secret.write_text("")
    assert "is empty" in problems(tmp_path, text)


def test_one_entry_for_an_issuer(tmp_path: Path) -> None:
    """An issuer stands there once, with all its audiences."""
    assert "twice" in problems(tmp_path, ISSUER + ISSUER)
    assert given(tmp_path, ISSUER.replace('"comfy"', '["a", "b"]')).issuers[0].audience == ("a", "b")
    assert "audience" in problems(tmp_path, ISSUER.replace('"comfy"', "[]"))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[identity_header]", "from"),
        ('[identity_header]\nfrom = ["0.0.0.0/0"]', "would trust everybody"),
        ('[identity_header]\nfrom = ["::/0"]', "would trust everybody"),
        ('[identity_header]\nfrom = ["*"]', "list your proxies"),
        ("[identity_header]\nfrom = []", "from"),
        ('[identity_header]\nuser = "Authorization"\nfrom = ["127.0.0.1"]', "means something else"),
        ('[identity_header]\nuser = "X_User"\nfrom = ["127.0.0.1"]', "no header"),
        ('[identity_header]\nuser = "X-A"\ngroups = "x-a"\nfrom = ["127.0.0.1"]', "same header"),
        ('[identity_header]\nfrom = ["127.0.0.1"]\nroles = { a = "admin" }', "groups"),
        ('[identity_header]\nfrom = ["127.0.0.1"]\ndefault_role = "admin"', "administrator"),
        ('[networks]\n"0.0.0.0/0" = "kiosk"', "would trust everybody"),
        ('[networks]\n"::ffff:0:0/96" = "kiosk"', "would trust everybody"),
        ('[networks]\n"10.0.0.1/8" = "kiosk"', "host bits"),
        ('public_url = "https://gw.example"\n[networks]\n"10.0.0.0/8" = "kiosk"', "trusted_proxies"),
    ],
)
def test_who_is_believed_is_somebody(tmp_path: Path, toml: str, words: str) -> None:
    """A header is believed from listed addresses, a network is a network, and everybody is neither."""
    assert words in problems(tmp_path, toml)


def test_a_header_and_networks(tmp_path: Path) -> None:
    """Both as the README has them, also as JSON in the environment."""
    toml = (
        '[identity_header]\ngroups = "X-Groups"\nfrom = "127.0.0.1, 10.0.0.0/8"\n[networks]\n"10.0.5.0/24" = "kiosk"\n'
    )
    settings = given(tmp_path, toml)
    assert settings.identity_header is not None
    assert settings.identity_header.proxies == ("127.0.0.1", "10.0.0.0/8")
    assert settings.networks == {"10.0.5.0/24": "kiosk"}
    assert origin_of(settings, "networks.10.0.5.0/24") == "file"
    environ = {"GATEWAY_NETWORKS": '{"10.0.5.0/24": "kiosk"}', "GATEWAY_ISSUERS": "[]"}
    assert given(tmp_path, "", **environ).networks == {"10.0.5.0/24": "kiosk"}
    assert "JSON" in problems(tmp_path, "", GATEWAY_SSO="{")
