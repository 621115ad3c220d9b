"""Names the environment variables from which libpq takes what migrate_uri leaves open."""

from __future__ import annotations

import os
from collections.abc import Container
from typing import Final

# The variables, and the parameters of a connection that count before them (manual of PostgreSQL, "Environment Variables"). For those
# without a parameter, migrate_uri cannot say anything.
_PARAMETERS: Final = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "password",
    "PGREQUIREAUTH": "require_auth",
    "PGCHANNELBINDING": "channel_binding",
    "PGSERVICE": "service",
    "PGSERVICEFILE": "",
    "PGOPTIONS": "options",
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCRL": "sslcrl",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLSNI": "sslsni",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGMAXPROTOCOLVERSION": "max_protocol_version",
    "PGREQUIREPEER": "requirepeer",
    "PGGSSENCMODE": "gssencmode",
    "PGKRBSRVNAME": "krbsrvname",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGDATESTYLE": "",
    "PGTZ": "",
    "PGGEQO": "",
    "PGSYSCONFDIR": "",
}


def with_variables(hint: str, given: Container[str]) -> str:
    """Return a hint about a connection that failed, followed by the names of the variables that have had a part in it.

    Args:
        hint: what else may be wrong.
        given: the parameters that migrate_uri has.
    """
    # libpq reads the environment of the process, whatever settings were made from.
    found = [name for name, parameter in _PARAMETERS.items() if os.environ.get(name) and parameter not in given]  # noqa: TID251
    return f"{hint}; the environment sets {', '.join(found)}: this counts, too" if found else hint
