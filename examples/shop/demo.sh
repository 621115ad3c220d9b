#!/usr/bin/env bash
# What `make demo` shows: this project, from an empty directory to a migrated SQLite database.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

out=${DEMO:?set DEMO to a directory that holds venv/ and takes the results}
rm -f "$out"/shop.db* "$out"/plan.svg
export PATH="$out/venv/bin:$PATH"
export MIGRATE_URI="sqlite://$out/shop.db"

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

show migrate check
show migrate plan --graph "$out/plan.svg"
show migrate apply
show migrate status

printf '\nThe picture of the plan: %s (open it in a browser)\nThe database:            %s\n' "$out/plan.svg" "$out/shop.db"
