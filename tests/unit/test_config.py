"""Settings: every value with its source, every fault at once."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate_graph.config import Config, Source, SourceKind, load_config
from migrate_graph.config.values import RawValue
from migrate_graph.core.footprint import Budget
from migrate_graph.errors import ConfigError

URI = "postgres://shop:hunter2@db/shop"


def project(directory: Path, toml: str = "", dotenv: str | None = None) -> Path:
    (directory / "pyproject.toml").write_text(toml, "utf-8")
    if dotenv is not None:
        (directory / ".env").write_text(dotenv, "utf-8")
    return directory


def faults(root: Path, environ: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(root, environ or {})
    return caught.value


def test_defaults_are_those_of_edwh_migrate(tmp_path: Path) -> None:
    config = load_config(tmp_path, {})
    assert config.migrations_file == "migrations.py"
    assert config.database_to_restore == "/data/database_to_restore.sql"
    assert config.migrate_table == "ewh_implemented_features"
    assert config.flag_location == "/flags"
    assert config.schema == "public"
    assert config.migration_ordering_mode == "legacy"
    assert config.create_flag_location is False
    assert config.use_typedal is False
    assert (config.migrate_cat_command, config.schema_version, config.redis_host, config.db_folder) == (None,) * 4
    assert not config.has_database
    assert set(config.sources.values()) == {Source()}


def test_the_later_source_wins_and_each_value_knows_its_own(tmp_path: Path) -> None:
    toml = (
        '[tool.other]\nschema = "no"\n[tool.migrate]\nmigrate_uri = "sqlite://a"\nmigrate_table = "a"\nschema = "a"\n'
    )
    root = project(tmp_path, toml + 'schema-version = "a"\n', "MIGRATE_TABLE=b\nSCHEMA=b\nSCHEMA_VERSION=b\nOTHER=1\n")
    config = load_config(root, {"SCHEMA": "c", "SCHEMA_VERSION": "c"}, {"schema_version": "d", "redis_host": None})
    assert (config.migrate_uri, config.migrate_table, config.schema, config.schema_version) == (
        "sqlite://a",
        "b",
        "c",
        "d",
    )
    assert config.sources["migrate_uri"] == Source(SourceKind.PYPROJECT, "pyproject.toml:4")
    assert config.sources["migrate_table"] == Source(SourceKind.DOTENV, ".env")
    assert config.sources["schema"] == Source(SourceKind.ENVIRONMENT, "SCHEMA")
    assert config.sources["schema_version"] == Source(SourceKind.COMMAND_LINE, "--set schema_version")
    assert config.sources["redis_host"] == Source()


@pytest.mark.parametrize("key", ["migrate_uri", "migrate-uri", "MIGRATE_URI", "Migrate-Uri", "db_uri", "DB-URI"])
def test_keys_in_any_spelling(tmp_path: Path, key: str) -> None:
    assert load_config(project(tmp_path, f'[tool.migrate]\n"{key}" = "sqlite://x"\n'), {}).migrate_uri == "sqlite://x"


@pytest.mark.parametrize("name", ["MIGRATE_URI", "migrate_uri", "DB_URI", "Db_Uri"])
def test_variables_in_any_case(tmp_path: Path, name: str) -> None:
    assert load_config(tmp_path, {name: "sqlite://x"}).migrate_uri == "sqlite://x"


def test_upper_case_wins(tmp_path: Path) -> None:
    assert load_config(tmp_path, {"SCHEMA": "big", "schema": "small"}).schema == "big"
    assert load_config(tmp_path, {"schema": "small", "SCHEMA": "big"}).schema == "big"


def test_only_the_names_of_edwh_migrate_stand_without_a_prefix(tmp_path: Path) -> None:
    stray = {"ERROR": "1", "WARN": "x", "IGNORE": "*", "LOCK_TIMEOUT": "never", "CONNECT_WAIT": "?"}
    assert load_config(tmp_path, stray).error == ()
    config = load_config(tmp_path, {"MIGRATE_ERROR": "mg105, MG106", "MIGRATE_LOCK_TIMEOUT": "2.5"})
    assert config.error == ("MG105", "MG106")
    assert config.lock_timeout == 2.5


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON"])
def test_truth_of_the_environment(tmp_path: Path, text: str) -> None:
    assert load_config(tmp_path, {"CREATE_FLAG_LOCATION": text}).create_flag_location is True


@pytest.mark.parametrize("text", ["0", "false", "No", "off", ""])
def test_untruth_of_the_environment(tmp_path: Path, text: str) -> None:
    assert load_config(tmp_path, {"CREATE_FLAG_LOCATION": text}).create_flag_location is False


def test_schema_may_be_left_alone(tmp_path: Path) -> None:
    assert load_config(project(tmp_path, "[tool.migrate]\nschema = false\n"), {}).schema is False
    assert load_config(tmp_path, {"SCHEMA": "false"}).schema is False
    assert load_config(tmp_path, {"SCHEMA": ""}).schema is False
    assert "schema = True" in faults(project(tmp_path, "[tool.migrate]\nschema = true\n")).message


def test_an_empty_uri_is_no_uri(tmp_path: Path) -> None:
    root = project(tmp_path, '[tool.migrate]\nmigrate_uri = ""\n')
    assert not load_config(root, {}).has_database
    root = project(tmp_path, '[tool.migrate]\nmigrate_uri = "sqlite://dev"\n')
    assert not load_config(
        root, {"MIGRATE_URI": ""}
    ).has_database  # a secret that failed must not mean the dev database
    assert load_config(tmp_path, {"MIGRATE_URI": "", "DB_URI": "sqlite://x"}).migrate_uri == "sqlite://x"
    with pytest.raises(ConfigError) as caught:
        _ = load_config(root, {"MIGRATE_URI": ""}).migrate_uri
    assert "MIGRATE_URI" in caught.value.hint


def test_empty_variables_switch_off_what_can_be_off(tmp_path: Path) -> None:
    config = load_config(tmp_path, {"REDIS_HOST": "", "DATABASE_TO_RESTORE": "", "MIGRATE_CAT_COMMAND": ""})
    assert (config.redis_host, config.database_to_restore, config.migrate_cat_command) == (None, "", None)


def test_d12_an_empty_schema_version_is_a_fault(tmp_path: Path) -> None:
    assert "SCHEMA_VERSION = ''" in faults(tmp_path, {"SCHEMA_VERSION": ""}).message
    assert "pyproject.toml:2" in faults(project(tmp_path, '[tool.migrate]\nschema_version = ""\n')).message


@pytest.mark.parametrize("name", ["MIGRATE_TABLE", "MIGRATIONS_FILE", "FLAG_LOCATION"])
def test_what_must_not_be_empty(tmp_path: Path, name: str) -> None:
    assert name in faults(tmp_path, {name: ""}).message


def test_d08b_one_bad_value_does_not_drop_the_file_silently(tmp_path: Path) -> None:
    error = faults(project(tmp_path, '[tool.migrate]\nmigrate_table = "real"\ncreate_flag_location = "yes"\n'))
    assert error.message == "pyproject.toml:3: create_flag_location = 'yes', but it takes true or false"
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("create_flag_location = 1", "create_flag_location = 1"),
        ("schema_version = 3", "schema_version = 3"),
        ("migrate_table = ['a']", "migrate_table = ['a']"),
        ("lock_timeout = '10'", "lock_timeout = '10'"),
        ("lock_timeout = -1", "lock_timeout = -1"),
        ("lock_timeout = inf", "lock_timeout = inf"),
        ("lock_timeout = nan", "lock_timeout = nan"),
        ("lock_timeout = true", "lock_timeout = True"),
        ("restore_size_limit = 1.5", "restore_size_limit = 1.5"),
        ("on_partial = 'sometimes'", "one of retry, stop"),
        ("rehearse_budget = 5", "rehearse_budget = 5, but it takes a table like"),
        ("rehearse_budget = { rows = '5' }", "it takes a table like"),
        ("rehearse_budget = { rows = -1 }", "it takes a table like"),
        ("rehearse_budget = { lock = true }", "it takes a table like"),
        ("rehearse_budget = { rewrite = '100 apples' }", "rehearse_budget: '100 apples' is no size"),
        ("rehearse_budget = { rewrites = 5 }", "rehearse_budget: there is no budget for rewrites"),
        ("ignore = 'MG101'", "a list of codes"),
        ("ignore = ['MG101', 'nonsense']", "a list of codes"),
        ("migrations_file = 1979-05-27", "migrations_file = datetime.date"),
        ("drift_ignore = ['log_*', 5]", "drift_ignore = ['log_*', 5], but it takes a list of patterns"),
        ("ignore = ['MG101', ['MG102']]", "a list of codes"),
        ("connect_wait = 1e10", "connect_wait: it is more than 1,000,000,000"),
        (f"lock_timeout_wait = 1{'0' * 400}", "lock_timeout_wait: it is more than 1,000,000,000"),
        (f"restore_size_limit = 1{'0' * 400}", "restore_size_limit: it is more than"),
        ("rehearse_budget.rewrites = 5", "rehearse_budget: there is no budget for rewrites"),
        ("[tool.migrate.rehearse_budget]\nrewrites = 5", "rehearse_budget: there is no budget for rewrites"),
        ("[[tool.migrate.extra]]", "there is no setting 'extra'"),
    ],
)
def test_d18_wrong_types_are_not_coerced(tmp_path: Path, line: str, told: str) -> None:
    error = faults(project(tmp_path, f"[tool.migrate]\n{line}\n"))
    assert told in error.message
    assert "pyproject.toml:2" in error.message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CREATE_FLAG_LOCATION", "nope"),
        ("MIGRATE_LOCK_TIMEOUT", "10s"),
        ("MIGRATE_LOCK_TIMEOUT", "1e400"),
        ("MIGRATE_LOCK_TIMEOUT", "٣"),
        ("MIGRATE_LOCK_TIMEOUT", "9" * 5000),
        ("MIGRATE_RESTORE_SIZE_LIMIT", "9" * 5000),
        ("MIGRATE_RESTORE_SIZE_LIMIT", "1.5"),
        ("MIGRATION_ORDERING_MODE", "intertwine"),
    ],
)
def test_texts_of_the_environment_are_read_strictly(tmp_path: Path, name: str, text: str) -> None:
    error = faults(tmp_path, {name: text})
    assert error.message.startswith(f"environment: {name} = ")
    assert error.hint


def test_d18_unknown_keys_are_told_with_the_nearest(tmp_path: Path) -> None:
    error = faults(project(tmp_path, '[tool.migrate]\n\n"migrate-tabel" = "x"\n'))
    assert error.message == "pyproject.toml:3: there is no setting 'migrate-tabel'"
    assert error.hint == "did you mean migrate_table?"


def test_every_fault_at_once(tmp_path: Path) -> None:
    root = project(tmp_path, "[tool.migrate]\nuse_typedal = 1\nbogus = 2\n", "CREATE_FLAG_LOCATION=maybe\n")
    error = faults(root, {"SCHEMA_VERSION": "", "MIGRATION_ORDERING_MODE": "x"})
    for part in ("use_typedal", "bogus", ".env: CREATE_FLAG_LOCATION", "SCHEMA_VERSION", "MIGRATION_ORDERING_MODE"):
        assert part in error.message


def test_secrets_do_not_stand_in_faults_or_in_repr(tmp_path: Path) -> None:
    error = faults(project(tmp_path, f'[tool.migrate]\nmigrate_uri = ["{URI}"]\nmigrate_ury = "{URI}"\n'))
    assert "hunter2" not in error.message + error.hint
    config = Config.load({"migrate_uri": URI, "redis_host": "redis://:hunter2@cache/0"})
    assert "hunter2" not in repr(config)
    assert "postgres://shop:***@db/shop" in repr(config)
    assert config.migrate_uri == URI


@pytest.mark.parametrize(
    ("toml", "place"),
    [
        ("[tool.migrate]\nmigrate_uri = \n", "pyproject.toml:2:"),
        ("[tool.migrate\n", "pyproject.toml:1:"),
        ("[tool.migrate]\nschema = 'a'\nschema = 'b'\n", "pyproject.toml"),
        ("[tool]\nmigrate = 3\n", "tool.migrate is no table"),
        ("tool = 3 # migrate\n", "tool.migrate is no table"),
        (f"[tool.migrate]\njobs = {'9' * 5000}\n", "pyproject.toml: cannot be read"),
        (f"[tool.migrate]\njobs = {'[' * 5000}{']' * 5000}\n", "pyproject.toml: cannot be read"),
    ],
)
def test_bad_toml(tmp_path: Path, toml: str, place: str) -> None:
    assert place in faults(project(tmp_path, toml)).message


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[tool.migrate_graph]\njobs = 2\n", "pyproject.toml:1: nothing reads the table [tool.migrate_graph]"),
        ("[tool.migrate]\n[tool.migrate-graph.x]\n", "pyproject.toml:2: nothing reads the table [tool.migrate-graph]"),
        ("\n[tool.'Migrate']\nmigrate_uri = ''\n", "pyproject.toml:2: nothing reads the table [tool.Migrate]"),
        ("[tool]\nmigrate_graph.jobs = 2\n", "pyproject.toml: nothing reads the table [tool.migrate_graph]"),
        ("[migrate]\njobs = 2\n", "pyproject.toml:1: nothing reads the table [migrate]"),
    ],
)
def test_a_table_that_was_meant_to_be_ours_is_told(tmp_path: Path, toml: str, told: str) -> None:
    error = faults(project(tmp_path, toml))
    assert (error.message, error.hint) == (told, "write [tool.migrate]")


def test_tables_and_texts_of_others_are_not_looked_at(tmp_path: Path) -> None:
    text = 'readme = """\n[migrate]\n[tool.migrate_graph]\n"""\n'
    toml = f"[project]\nname = 'migrate'\n{text}[tool.migrateit]\n[tool.edwh]\nmigrate_graph = 1\n"
    assert load_config(project(tmp_path, toml), {}).remarks == ()


@pytest.mark.parametrize("name", ["lock_timeout", "statement_timeout"])
def test_a_timeout_is_one_that_postgresql_can_keep(tmp_path: Path, name: str) -> None:
    for wrong, told in (("0.0009", "for no limit"), ("2147484", "no timeout of more than 2,147,483 seconds")):
        assert told in faults(project(tmp_path, f"[tool.migrate]\n{name} = {wrong}\n")).message
    for right in (0, 0.001, 2147483):
        config = load_config(project(tmp_path, f"[tool.migrate]\n{name} = {right}\n"), {})
        assert getattr(config, name) == right


def test_variables_that_are_like_those_of_settings_are_told(tmp_path: Path) -> None:
    meant = {
        "MIGRATE_GRAPH_JOBS": "MIGRATE_JOBS",
        "MIGRATE_LOCKTIMEOUT": "MIGRATE_LOCK_TIMEOUT",
        "MIGRATE_SCHEMA": "SCHEMA",
        "MIGRATE_URL": "MIGRATE_URI",
        "MIGRATION_FILE": "MIGRATIONS_FILE",
        "migrate-weav": "MIGRATE_WEAVE",
    }
    others = ("MIGRATE_USER", "MIGRATE_ENV", "MIGRATE_VERSION", "MIGRATIONS", "JOB", "MIGRATE_JOBS", "MIGRATE_LOCK")
    config = load_config(project(tmp_path, dotenv="MIGRATE_JOB=x\n"), dict.fromkeys((*meant, *others), "2"))
    assert set(config.remarks) == {
        ".env: MIGRATE_JOB is no setting; did you mean MIGRATE_JOBS?",
        *(f"environment: {name} is no setting; did you mean {other}?" for name, other in meant.items()),
    }


def test_unreadable_files_are_faults(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.migrate]\nschema = '\xff'\n")
    (tmp_path / ".env").write_bytes(b"SCHEMA=\xff\n")
    message = faults(tmp_path).message
    assert "pyproject.toml cannot be read" in message
    assert ".env cannot be read" in message


def test_settings_in_an_inline_table(tmp_path: Path) -> None:
    config = load_config(project(tmp_path, '[tool]\nmigrate = { schema = "x" }\n'), {})
    assert config.schema == "x"
    assert config.sources["schema"] == Source(SourceKind.PYPROJECT, "pyproject.toml")


def test_dotenv_is_found_upwards_filled_in_and_not_exported(tmp_path: Path) -> None:
    project(
        tmp_path,
        dotenv='PASSWORD=hunter2\nHOST=file\nexport MIGRATE_URI="postgres://u:${PASSWORD}@${HOST}/${NONE:-d}"\n',
    )
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    config = load_config(deep, {"HOST": "process"})
    assert config.migrate_uri == "postgres://u:hunter2@process/d"
    assert config.sources["migrate_uri"].where == str(tmp_path / ".env")
    assert os.getenv("PASSWORD") != "hunter2"  # noqa: TID251 - this is what is shown


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", " ", "\t", "\ufeff"])
def test_what_editors_and_secret_stores_leave_at_the_ends_is_no_part_of_a_value(tmp_path: Path, end: str) -> None:
    config = load_config(
        tmp_path, {"MIGRATE_URI": f"sqlite://app.db{end}", "MIGRATE_TABLE": f"{end}mine{end}", "USE_TYPEDAL": f"1{end}"}
    )
    assert (config.migrate_uri, config.migrate_table, config.use_typedal) == ("sqlite://app.db", "mine", True)


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\u200b", "\u202e", "\xa0\u2028", "\udce9"])
@pytest.mark.parametrize("name", ["MIGRATE_URI", "MIGRATE_TABLE", "SCHEMA", "REDIS_HOST"])
def test_a_character_that_nobody_sees_is_named(tmp_path: Path, name: str, character: str) -> None:
    error = faults(tmp_path, {name: f"sqlite://a{character}b"})
    assert error.message.startswith(f"environment: {name}: it holds U+")
    assert f"U+{ord(character[-1]):04X}" in error.message
    message = faults(project(tmp_path, '[tool.migrate]\nmigrate_table = "a\\u0007b"\n')).message
    assert message == "pyproject.toml:2: migrate_table: it holds U+0007 (\\x07), which nobody sees"


def test_names_of_files_need_not_be_utf_8(tmp_path: Path) -> None:
    assert (
        load_config(tmp_path, {"MIGRATIONS_FILE": "caf\udce9/migrations.py"}).migrations_file
        == "caf\udce9/migrations.py"
    )


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ("${NAME}", "value"),
        ("$NAME/x", "value/x"),
        ("a${NAME}b", "avalueb"),
        ("${name}", "value"),
        ("${NONE:-default}", "default"),
        ("${NONE:default}", "default"),
        ("${NONE-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${NAME:-default}", "value"),
        ("${NAME:+other}", "other"),
        ("${NONE:-${NAME}}", "value"),
        ("a$", "a$"),
        ("a$$b", "a$$b"),
        ("a$1", "a$1"),
        (r"\${NAME}", "${NAME}"),
    ],
)
def test_variables_in_pyproject_are_filled_in_as_in_edwh_migrate(tmp_path: Path, written: str, filled: str) -> None:
    root = project(tmp_path, f"[tool.migrate]\nmigrate_table = '{written}'\n", "FROM_FILE=dot\n")
    config = load_config(root, {"NAME": "value", "EMPTY": ""})
    assert config.migrate_table == filled
    assert config.remarks == ()


def test_a_variable_that_is_not_set_is_empty_and_told(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        '[tool.migrate]\nmigrate_uri = "postgres://u:${SECRET}@${HOST}/d"\nignore = ["MG${N}"]\n',
        "HOST=db\nN=105\n",
    )
    config = load_config(root, {})
    assert (config.migrate_uri, config.ignore) == ("postgres://u:@db/d", ("MG105",))
    assert config.remarks == ("pyproject.toml:2: migrate_uri names ${SECRET}, which is not set: taken as empty",)


def test_two_names_of_one_setting_that_differ_are_refused(tmp_path: Path) -> None:
    error = faults(tmp_path, {"MIGRATE_URI": "sqlite://a", "DB_URI": "sqlite://b"})
    assert "DB_URI and MIGRATE_URI differ" in error.message
    assert load_config(tmp_path, {"MIGRATE_URI": "sqlite://a", "DB_URI": "sqlite://a"}).migrate_uri == "sqlite://a"
    assert (
        ".env: DB_URI and MIGRATE_URI differ"
        in faults(project(tmp_path, "", "DB_URI=sqlite://a\nMIGRATE_URI=sqlite://b\n")).message
    )
    (tmp_path / ".env").unlink()
    toml = '[tool.migrate]\ndb_uri = "sqlite://a"\nmigrate-uri = "sqlite://b"\n'
    assert "pyproject.toml:2: db_uri and migrate-uri differ" in faults(project(tmp_path, toml)).message


def test_two_names_of_one_database_in_two_places_are_told(tmp_path: Path) -> None:
    root = project(tmp_path, dotenv="DB_URI=sqlite://a\n")
    config = load_config(root, {"MIGRATE_URI": "sqlite://b"})
    assert config.migrate_uri == "sqlite://b"
    assert config.remarks == (
        "DB_URI (.env) and MIGRATE_URI (MIGRATE_URI in the environment) differ: MIGRATE_URI wins",
    )
    assert load_config(root, {"DB_URI": "sqlite://b"}).remarks == ()


@pytest.mark.parametrize("name", ["SCHEMA-VERSION", "schema-version", "Schema_Version"])
def test_variables_with_a_dash(tmp_path: Path, name: str) -> None:
    assert load_config(tmp_path, {name: "7"}).schema_version == "7"
    assert load_config(tmp_path, {name: "7", "SCHEMA_VERSION": "8"}).schema_version == "8"


@pytest.mark.parametrize("name", ["a?b", "a%b", 'a"b', "a'b", "a;b"])
def test_a_table_whose_name_no_statement_takes(tmp_path: Path, name: str) -> None:
    assert "is not supported" in faults(tmp_path, {"MIGRATE_TABLE": name}).message


@pytest.mark.parametrize(
    "template", ["{file}", "javascript:alert(1)//{file}", "JavaScript:x", "data:text/html,{file}", "x:{file}"]
)
def test_a_link_decides_itself_what_a_click_does(tmp_path: Path, template: str) -> None:
    assert "a link begins with" in faults(tmp_path, {"MIGRATE_LINK_TEMPLATE": template}).message


@pytest.mark.parametrize(
    "template", ["https://h/{file}#L{line}", "vscode://file/{file}:{line}", "/src/{file}", "../{file}", "./{file}", ""]
)
def test_links_that_are_fine(tmp_path: Path, template: str) -> None:
    assert load_config(tmp_path, {"MIGRATE_LINK_TEMPLATE": template}).link_template == template


def test_the_command_line_is_a_source(tmp_path: Path) -> None:
    root = project(tmp_path, '[tool.migrate]\nmigrate_uri = "sqlite://a"\n')
    config = load_config(root, {}, {"migrate_uri": "sqlite://b", "lock-timeout": "2.5", "ignore": "mg101,MG102"})
    assert (config.migrate_uri, config.lock_timeout, config.ignore) == ("sqlite://b", 2.5, ("MG101", "MG102"))
    assert str(config.sources["migrate_uri"]) == "--uri on the command line"
    assert str(config.sources["lock_timeout"]) == "--set lock_timeout on the command line"
    with pytest.raises(ConfigError, match="there is no setting"):
        load_config(root, {}, {"nonsense": "1"})


def test_attributes_are_checked_when_set() -> None:
    config = Config()
    config.schema = False
    config.migrate_uri = URI
    assert (config.schema, config.db_uri) == (False, URI)
    assert config.sources["schema"].kind is SourceKind.CODE
    with pytest.raises(ConfigError, match="use_typedal"):
        config.use_typedal = "yes"
    with pytest.raises(ConfigError, match="there is no setting 'migrate_tabel'"):
        config.migrate_tabel = "x"
    config.db_uri = "sqlite://x"
    assert config.migrate_uri == "sqlite://x"


def test_update_takes_all_or_nothing_and_skips_none() -> None:
    config = Config.load({"schema_version": "1"})
    config.update(schema_version=None, redis_host="cache")
    assert (config.schema_version, config.redis_host) == ("1", "cache")
    config.update(_skip_none=False, schema_version=None)
    assert config.schema_version is None
    with pytest.raises(ConfigError):
        config.update(schema_version="2", use_typedal="x")
    assert config.schema_version is None


def test_update_from_env() -> None:
    config = Config.load({"schema": "a"}, environ={"SCHEMA": "b"})
    assert config.schema == "a"
    config.update_from_env()
    assert config.schema == "b"
    config.update_from_env({"SCHEMA": "c"})
    assert config.schema == "c"


def test_a_program_takes_what_its_own_environment_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.load({"migrate_table": "a"})
    monkeypatch.setenv("MIGRATE_TABLE", "b")
    assert config.migrate_table == "a"
    config.update_from_env()
    assert config.migrate_table == "b"


def test_configs_do_not_mix() -> None:
    first, second = Config.load({"schema": "a"}), Config.load({"schema": "b"})
    assert (first.schema, second.schema) == ("a", "b")


def test_every_setting_is_documented() -> None:
    for setting in Config.settings():
        assert setting.help
        assert setting.expected
        assert setting.variables
        if setting.name != "migrate_uri":
            assert setting.value_of(RawValue(setting.name, setting.default, Source(SourceKind.CODE))) == setting.default


@pytest.mark.parametrize(
    ("toml", "environ", "budget"),
    [
        ("", {}, Budget(rewrite=100_000_000, lock=2.0, rows=100_000)),
        ("rehearse_budget = { rewrite = '1.5 GB' }", {}, Budget(rewrite=1_500_000_000)),
        ("rehearse_budget = { rewrite = 4096, lock = 1, rows = 7 }", {}, Budget(4096, 1.0, 7)),
        (
            "rehearse_budget = { rows = 7 }",
            {"MIGRATE_REHEARSE_BUDGET": "lock=0.5, rewrite = 10kB"},
            Budget(10_000, 0.5),
        ),
    ],
)
def test_the_budget_of_a_rehearsal(tmp_path: Path, toml: str, environ: dict[str, str], budget: Budget) -> None:
    config = load_config(project(tmp_path, f"[tool.migrate]\n{toml}\n"), environ)
    assert config.rehearse_budget == budget
    assert load_config(tmp_path, {"MIGRATE_REHEARSE_BUDGET": str(budget)}).rehearse_budget == budget, "as it is shown"


def test_a_merge_conflict_in_pyproject_is_named_as_one(tmp_path: Path) -> None:
    toml = '[tool.migrate]\n<<<<<<< HEAD\nschema = "a"\n=======\nschema = "b"\n>>>>>>> feature\n'
    error = faults(project(tmp_path, toml))
    assert (
        "pyproject.toml:2: a merge conflict is not resolved, from line 2 to 6 (HEAD against feature)" in error.message
    )
    assert "git diff" in f"{error.message} {error.hint}"
