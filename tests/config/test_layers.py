"""Settings from flags, environment, file and defaults."""

from pathlib import Path

import pytest

from gateway.config import AddressRates, ConfigError, Rates, Settings, load, origin_of

HOME = {"HOME": "/home/ann"}


def problems(*, toml: str = "", tmp_path: Path, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    file = tmp_path / "gateway.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(config=file, flags=flags, environ={**HOME, **(environ or {})})
    return list(caught.value.problems)


def given(tmp_path: Path, toml: str, environ: dict[str, str] | None = None, **flags: object) -> Settings:
    file = tmp_path / "gateway.toml"
    file.write_text(toml)
    return load(config=file, flags=flags, environ={**HOME, **(environ or {})})


def test_nothing_need_be_set() -> None:
    """Without file, flags and variables the gateway has a complete set of defaults, on loopback."""
    settings = load(config=None, flags={}, environ=HOME)
    assert settings.comfyui == ("http://127.0.0.1:8188",)
    assert (settings.host, settings.port) == ("127.0.0.1", 8190)
    assert settings.data_dir == Path("/home/ann/.local/share/comfy-gateway")
    assert settings.trusted_proxies == () and settings.cors_origins == ()
    assert (settings.history_newest, settings.history_days) == (200, 90)
    assert settings.roles["member"].permissions == {"read", "submit"}
    assert settings.roles["admin"].permissions == {"read", "submit", "admin"}


def test_xdg_says_where_data_goes() -> None:
    """The default data directory follows XDG_DATA_HOME."""
    settings = load(config=None, flags={}, environ={**HOME, "XDG_DATA_HOME": "/srv/data"})
    assert settings.data_dir == Path("/srv/data/comfy-gateway")


def test_flags_hide_environment_hides_file(tmp_path: Path) -> None:
    """The file is overridden by GATEWAY_* variables, and both by flags; a flag that is None was not given."""
    toml = 'port = 1\nhost = "file"\nhistory_days = 1\n'
    settings = given(tmp_path, toml, {"GATEWAY_PORT": "2", "GATEWAY_HOST": "environment"}, port=3, host=None)
    assert (settings.port, settings.host, settings.history_days) == (3, "environment", 1)
    assert [origin_of(settings, key) for key in ("port", "host", "history_days", "session_hours")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]


def test_lists_in_variables_have_commas() -> None:
    """GATEWAY_COMFYUI, GATEWAY_TRUSTED_PROXIES and GATEWAY_CORS_ORIGINS are lists with commas."""
    environ = {
        "GATEWAY_COMFYUI": "http://a:8188/",
        "GATEWAY_TRUSTED_PROXIES": "10.0.0.1, 10.1.0.0/16,",
        "GATEWAY_CORS_ORIGINS": "https://one.example,https://two.example:8443",
    }
    settings = load(config=None, flags={}, environ={**HOME, **environ})
    assert settings.comfyui == ("http://a:8188",)
    assert settings.trusted_proxies == ("10.0.0.1", "10.1.0.0/16")
    assert settings.cors_origins == ("https://one.example", "https://two.example:8443")


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is handed in counts: two gateways in one process do not share settings by accident."""
    monkeypatch.setenv("GATEWAY_PORT", "1")
    monkeypatch.setenv("PORT", "2")
    assert load(config=None, flags={}, environ=HOME).port == 8190


def test_a_role_table_changes_what_it_names(tmp_path: Path) -> None:
    """A table for a role that is there by default overrides only its keys; another role may be added."""
    toml = """
        [roles.member]
        max_sockets = 7
        routes = ["GET /vhs/queryvideo"]
        events = { broadcast = ["crystools.monitor"], owner-of-running = ["impact-node-feedback"] }
        [roles.guest]
        permissions = ["read"]
    """
    settings = given(tmp_path, toml)
    member = settings.roles["member"]
    assert member.max_sockets == 7 and member.permissions == {"read", "submit"} and member.max_queued == 100
    assert member.events.broadcast == ("crystools.monitor",)
    assert member.events.owner_of_running == ("impact-node-feedback",)
    assert settings.roles["guest"].permissions == {"read"}
    assert settings.roles["admin"].permissions == {"read", "submit", "admin"}
    assert origin_of(settings, "roles.member.max_sockets") == "file"
    assert origin_of(settings, "roles.member.max_queued") == "default"


def test_roles_in_a_variable_are_json(tmp_path: Path) -> None:
    """GATEWAY_ROLES holds the tables as JSON; what is no JSON is said so."""
    settings = given(tmp_path, "", {"GATEWAY_ROLES": '{"member": {"max_queued": 3}}'})
    assert settings.roles["member"].max_queued == 3
    assert origin_of(settings, "roles.member.max_queued") == "environment"
    (line,) = problems(tmp_path=tmp_path, environ={"GATEWAY_ROLES": "{"})
    assert line == "roles (environment GATEWAY_ROLES): is not JSON"


def test_a_table_in_a_variable_hides_the_one_in_the_file(tmp_path: Path) -> None:
    """What is overridden does not count, and is not said to be where a value came from."""
    toml = "[roles.member]\nmax_sockets = 2\nmax_queued = 9\n"
    settings = given(tmp_path, toml, {"GATEWAY_ROLES": '{"member": {"max_queued": 3}}'})
    assert (settings.roles["member"].max_queued, settings.roles["member"].max_sockets) == (3, 32)
    assert origin_of(settings, "roles.member.max_queued") == "environment"
    assert origin_of(settings, "roles.member.max_sockets") == "default"


def test_a_tilde_is_the_home_of_somebody(tmp_path: Path) -> None:
    """`~` in the data directory is resolved, and one that leads nowhere is a problem like any other."""
    assert given(tmp_path, 'data_dir = "~/data"').data_dir == Path("~/data").expanduser()
    (line,) = problems(tmp_path=tmp_path, toml='data_dir = "~nobody-of-this-name/data"')
    assert line.startswith("data_dir (file ") and "home of nobody" in line


def test_every_problem_is_reported(tmp_path: Path) -> None:
    """Not only the first problem is reported but all of them, each with its key and where it came from."""
    toml = 'bogus = 1\nport = "high"\n[roles.member]\nmax_sockets = -1\nspeed = 9\n[roles.guest]\n'
    found = problems(toml=toml, tmp_path=tmp_path, environ={"GATEWAY_BOGUS": "1", "GATEWAY_HISTORY_DAYS": "0"}, host="")
    file = f"(file {tmp_path / 'gateway.toml'})"
    starts = {
        "GATEWAY_BOGUS (environment): is no setting",
        f"bogus {file}: is no setting",
        f"port {file}: ",
        f"roles.member.max_sockets {file}: ",
        f"roles.member.speed {file}: is no setting",
        f"roles.guest.permissions {file}: Field required",
        "history_days (environment GATEWAY_HISTORY_DAYS): ",
        "host (flag --host): ",
    }
    assert len(found) == len(starts)
    assert all(any(line.startswith(start) for line in found) for start in starts)


@pytest.mark.parametrize("name", ["GATEWAY_REDIS_URL", "GATEWAY_ACCEL"])
def test_what_is_planned_is_said_so(name: str, tmp_path: Path) -> None:
    """A setting of a later version is refused in words, because to ignore a limit in silence is worse."""
    key = name.removeprefix("GATEWAY_").lower()
    assert problems(tmp_path=tmp_path, environ={name: "x"}) == [f"{key} (environment {name}): is not available yet"]
    (line,) = problems(tmp_path=tmp_path, toml=f'{key} = "x"\n')
    assert line.startswith(f"{key} (file ") and line.endswith("is not available yet")


def test_budgets_are_whole_seconds(tmp_path: Path) -> None:
    """A budget is at least one second; none is the default."""
    table = "[roles.member]\ngpu_seconds_per_day = 3600\ngpu_seconds_per_week = 0\ngpu_seconds_per_month = -1\n"
    found = problems(tmp_path=tmp_path, toml=table)
    assert [line.split(" ")[0] for line in found] == [
        "roles.member.gpu_seconds_per_week",
        "roles.member.gpu_seconds_per_month",
    ]
    role = load(config=None, flags={}, environ=HOME).roles["member"]
    assert role.gpu_seconds_per_day is role.gpu_seconds_per_week is role.gpu_seconds_per_month is None


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """A missing file of settings is an error, not an empty one."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(config=tmp_path / "none.toml", flags={}, environ=HOME)


def test_a_file_must_be_toml(tmp_path: Path) -> None:
    """A file that is not TOML is an error that names it, and is found beside others."""
    found = problems(tmp_path=tmp_path, toml="port = = 1", environ={"GATEWAY_PORT": "x"})
    assert found[0].startswith(f"{tmp_path / 'gateway.toml'}: is not TOML") and len(found) == 2


def test_secrets_stay_out_of_messages_and_text(tmp_path: Path) -> None:
    """Security row N06: neither a problem nor the text of the settings shows the secret key."""
    short = "hunter2-hunter2"
    assert short not in " ".join(problems(tmp_path=tmp_path, environ={"GATEWAY_SECRET_KEY": short}))
    long = "6Zk2hQ9w-Rb7XcL4m_TfV1sY8pJ3nUeA0dGi5oK"
    settings = given(tmp_path, "", {"GATEWAY_SECRET_KEY": long})
    assert long not in repr(settings) + str(settings)
    assert settings.secret_key is not None and settings.secret_key.get_secret_value() == long


def test_a_role_says_which_nodes_and_models(tmp_path: Path) -> None:
    """Nodes and models of a role are tables of patterns; a word that they do not have is named as a problem."""
    toml = '[roles.member]\nnodes = { trusted_packs = ["a"] }\nmodels = { deny = ["loras/private/*"] }\n'
    member = given(tmp_path, toml).roles["member"]
    assert (member.nodes.trusted_packs, member.nodes.deny) == (("a",), ())
    assert (member.models.allow, member.models.deny) == (("*",), ("loras/private/*",))
    (problem,) = problems(toml='[roles.member.nodes]\ntrust = ["a"]\n', tmp_path=tmp_path)
    assert "nodes" in problem and "trust" in problem


def test_rates_that_are_none_are_said_so(tmp_path: Path) -> None:
    """A rate that cannot be read, or is out of bounds, is a problem with its key, like any other; classes too."""
    rates = '{ submit = "often", poll = "0/second", view = "1/month", upload = "1/2 days", nonsense = "1/second" }'
    toml = f'[roles.member]\nrates = {rates}\ntoken_rates = {{ default = "1" }}\n[address_rates]\nlogin = "5/5/5"\n'
    found = problems(tmp_path=tmp_path, toml=toml)
    classes = ("rates.submit", "rates.poll", "rates.view", "rates.upload", "rates.nonsense", "token_rates.default")
    wanted = sorted(("address_rates.login", *(f"roles.member.{name}" for name in classes)))
    assert sorted(line.split(" ")[0] for line in found) == wanted
    assert "“often” is not a rate such as “30/minute”" in "".join(found)


def test_rates_of_a_role_and_of_addresses(tmp_path: Path) -> None:
    """What a table of rates does not name keeps its default; the environment has the tables as JSON."""
    settings = given(
        tmp_path,
        '[roles.member]\nrates = { submit = "30 per 2 minutes" }\n',
        {"GATEWAY_ADDRESS_RATES": '{"login": "5/minute"}'},
    )
    assert settings.roles["member"].rates == Rates(submit="30 per 2 minutes")
    assert settings.roles["member"].token_rates.submit is None
    assert settings.address_rates == AddressRates(login="5/minute")
    assert origin_of(settings, "address_rates.login") == "environment"
    assert problems(tmp_path=tmp_path, environ={"GATEWAY_ADDRESS_RATES": "{"}) == [
        "address_rates (environment GATEWAY_ADDRESS_RATES): is not JSON"
    ]
