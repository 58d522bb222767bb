#!/bin/sh
# Makes the database of pdns.conf with the zone redis.example.com and a TSIG key that may update it.
#
#   deploy/dns/powerdns/setup.sh [FOLDER OF pdns.conf [SECRET]]
#
# Without a secret a new one is made. It is printed at the end: it belongs in the file that Slotway reads.
set -eu
here=$(dirname "$0")
config=${1:-/etc/powerdns}
database=$(sed -n 's/^gsqlite3-database=//p' "$config/pdns.conf")
schema=${PDNS_SCHEMA:-/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql}
zone=redis.example.com

util() { pdnsutil --config-dir="$config" "$@"; }

[ ! -e "$database" ] || { echo "setup.sh: $database is there already" >&2; exit 1; }
[ -r "$schema" ] || { echo "setup.sh: no schema at $schema: name it with PDNS_SCHEMA" >&2; exit 1; }
sqlite3 "$database" <"$schema"

util load-zone "$zone" "$here/../zones/$zone.zone"
util set-kind "$zone" primary

if [ $# -ge 2 ]; then util import-tsig-key slotway hmac-sha256 "$2"; else util generate-tsig-key slotway hmac-sha256; fi

# Who may update: from anywhere, but with the key only. PowerDNS can't bind a key to a name and a type: the zone has
# nothing in it that may not be lost, and its parent is elsewhere.
util set-meta "$zone" ALLOW-DNSUPDATE-FROM 0.0.0.0/0 ::/0
util set-meta "$zone" TSIG-ALLOW-DNSUPDATE slotway
# The serial goes up with each update, and ns2 is told at once, so that it copies it.
util set-meta "$zone" SOA-EDIT-DNSUPDATE INCREASE
util set-meta "$zone" NOTIFY-DNSUPDATE 1

chown --reference="$config" "$database" 2>/dev/null || :
if id pdns >/dev/null 2>&1; then chown pdns: "$database"; fi
chmod 0640 "$database"
util check-zone "$zone"
util list-tsig-keys
