#!/usr/bin/env bash
# The completion for bash, driven as readline does it: every command, every option, values, and what is given already.
# completion.sh ROOT BUILD
. "$(dirname "$0")/lib.sh"
# shellcheck source=/dev/null
. "$root/prov_client/completion/keynym.bash"
[ "$(complete -p keynym)" = 'complete -o bashdefault -o default -F _keynym keynym' ] || fail "not registered"

# offered WORD...: what is offered for the last word, sorted; readline takes the words apart at = and :
offered() {
  local word
  COMP_WORDS=()
  for word in "$@"; do
    while [[ $word == *[:=]* ]]; do
      [[ ${word%%[:=]*} = "" ]] || COMP_WORDS+=("${word%%[:=]*}")
      word=${word#"${word%%[:=]*}"}
      COMP_WORDS+=("${word:0:1}")
      word=${word:1}
      [ -n "$word" ] || continue 2
    done
    COMP_WORDS+=("$word")
  done
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
  _keynym keynym "${!#}" ""
  printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' '
}
offers() { # WANTED WORD...
  local wanted got
  wanted=$(tr ' ' '\n' <<<"$1" | sort | paste -sd' ')
  shift
  got=$(offered "$@")
  [ "$got" = "$wanted" ] || fail "'$*': offered '$got', not '$wanted'"
}
children() { "$keynym" "$@" --help | sed -n '/^Commands/,/^$/p' | awk 'NR > 1 && NF { print $1 }' | paste -sd' '; }
options() { "$keynym" "$@" --help | sed -n '/^Options/,$p' | awk '/^  --/ { print $1 }' | paste -sd' '; }

# every command and every option of it, as the help has them
count=0
offers "$(children)" keynym ""
for group in $(children); do
  [ "$group" != help ] || continue
  below=$(children "$group")
  if [ -z "$below" ]; then
    offers "$(options "$group")" keynym "$group" -
    count=$((count + 1))
    continue
  fi
  offers "$below" keynym "$group" ""
  offers --help keynym "$group" -
  for child in $below; do
    [ "$child" != help ] || continue
    offers "$(options "$group" "$child")" keynym "$group" "$child" --
    offers "" keynym "$group" "$child" "" # an operand: files
    count=$((count + 1))
  done
done
[ $count -gt 25 ] || fail "only $count commands"

offers "token tpm" keynym t
offers "generate generate-symmetric" keynym key gen
offers "send listen twin help" keynym help hub ""
offers "--help --version" keynym --
# values: those that are a list; files and free texts are left to readline
offers "mqtt mqtt-ws" keynym provision --transport mq
offers "mqtt mqtt-ws" keynym provision --transport=mq
offers "mqtt mqtt-ws amqp amqp-ws https" keynym hub send --transport ""
offers "mqtt mqtt-ws amqp amqp-ws https" keynym hub send --transport=
offers "x509 symmetric-key tpm" keynym provision --attestation ""
offers "P-256 P-384 P-521" keynym key generate --algorithm EC:
offers "P-384" keynym key generate --algorithm=EC:P-3
offers "ED25519 ED448" keynym key generate --algorithm ED
offers "create update updateIfMatchETag delete" keynym enroll bulk --mode ""
offers "migrate reset never" keynym enroll update --reprovision ""
offers "hashed static geoLatency custom" keynym enroll create --allocation ""
offers "device intermediate" keynym ca sign --profile ""
offers "" keynym key list --pin-source ""
offers "" keynym key list --pin-source -
# the value of an option is no command, and a URI is one word
offers "--json --help" keynym alias show key -
offers "--so-pin-source --module --json --help" keynym token init --pin-source list -
offers "--algorithm --usage --module --json --help" keynym key generate 'pkcs11:token=devices;object=a=b' --pin-source=/x -
# what is given is not offered again: it would be refused
offers "--help" keynym token list --json --module /x --
offers "--help" keynym token list --json --module=/x --
echo "$count commands are completed"
