#!/usr/bin/env bash
# One role of one program, with one key, in a process of its own. Called by run.sh.
# role.sh NAME ROLE alias|missing: runs the role; exit status 0, or not; 124 when a deadline has passed.
# role.sh NAME describe: title, version, roles, reason and skip (why it cannot run here, or empty), as shell variables.
# role.sh NAME configure ROLE: what a user puts into the program's configuration.
#
# role.sh NAME unable ROLE: why the program cannot do this with keys of $KN_INTEROP_ALGORITHM, wherever they are; or nothing.
#
# A program's file sets title, roles, configure (or configure_ROLE) and packages (what to install), and defines version, a
# function for each role; unable where a key of some type is beyond it; missing where more than a command can be missing; and reason, what is said about a key that is not
# in the token, where it is not the provider that says it.
set -euo pipefail
name=$1 role=$2 dir=$KN_INTEROP_WORK/$1.$2.${3:-}
. "$KN_INTEROP/lib.sh"
command="" reason="no key matches"
unable() { :; } # ROLE
missing() { command -v "$command" >/dev/null || echo "$command is not installed (Debian: $packages)"; }
. "$KN_INTEROP/programs/$name.sh"

case $role in
describe)
  skip=$(missing) version=""
  [ -n "$skip" ] || version=$(version)
  declare -p title version roles reason skip | sed 's/^declare -- //'
  exit
  ;;
unable)
  unable "$3"
  exit
  ;;
configure)
  role_configure=configure_$3
  echo "${!role_configure:-$configure}"
  exit
  ;;
esac

side=client
[[ $role != *server* ]] || side=server
key=$work/$side.$3.pem chain=$work/$side.chain.pem
object=$side-1
[ "$3" = alias ] || object=$side-9
uri="pkcs11:token=keynym-interop;object=$object;type=private?pin-source=$work/token/pin"
mkdir "$dir"
cd "$dir"
# A copy of the token: SoftHSM2 cuts token.object to nothing before it writes it anew, at every login, and a program that
# starts in that moment does not see the token. The provider looks again then; GnuTLS and libp11 do not.
cp -rp "$work/token/tokens" .
sed "s,^directories.tokendir = .*,directories.tokendir = $dir/tokens," "$work/token/softhsm2.conf" >softhsm2.conf
trap stop_all EXIT
trap 'exit 143' TERM INT HUP
"$role"
# what the program had at hand: no private key but the alias
[ -z "$(secrets)" ] || fail "there are private keys in its files: $(secrets)"
