# Completion of keynym for bash. Made by generate.sh from the help of every command; a test compares.

# _keynym_words PATH: the commands below it ("" is keynym itself), or nothing where it is a command with options
_keynym_words() {
  case $1 in
    '') REPLY='token key cert alias ca hsm tpm doctor provision hub enroll help' ;;
    'token') REPLY='init list help' ;;
    'key') REPLY='generate generate-symmetric import-symmetric list show delete help' ;;
    'cert') REPLY='import show help' ;;
    'alias') REPLY='create show help' ;;
    'ca') REPLY='root request sign proof show help' ;;
    'hsm') REPLY='show help' ;;
    'tpm') REPLY='show help' ;;
    'hub') REPLY='send listen twin help' ;;
    'enroll') REPLY='create get update delete list bulk keys device-key state states forget help' ;;
    *) REPLY= ;;
  esac
}

# _keynym_options PATH: the options of a command
_keynym_options() {
  case $1 in
    'token init') REPLY='--pin-source --so-pin-source --module --json --help' ;;
    'token list') REPLY='--module --json --help' ;;
    'key generate') REPLY='--algorithm --usage --module --pin-source --json --help' ;;
    'key generate-symmetric') REPLY='--module --pin-source --json --help' ;;
    'key import-symmetric') REPLY='--module --pin-source --json --help' ;;
    'key list') REPLY='--module --pin-source --json --help' ;;
    'key show') REPLY='--attestation-key --nonce --module --pin-source --json --help' ;;
    'key delete') REPLY='--module --pin-source --json --help' ;;
    'cert import') REPLY='--key --module --pin-source --json --help' ;;
    'cert show') REPLY='--module --pin-source --json --help' ;;
    'alias create') REPLY='--output --module --pin-source --json --help' ;;
    'alias show') REPLY='--json --help' ;;
    'ca root') REPLY='--key --pin-source --module --output --subject --days --json --help' ;;
    'ca request') REPLY='--key --pin-source --module --output --subject --json --help' ;;
    'ca sign') REPLY='--key --pin-source --module --output --cert --profile --days --json --help' ;;
    'ca proof') REPLY='--key --pin-source --module --output --cert --code --json --help' ;;
    'ca show') REPLY='--json --help' ;;
    'hsm show') REPLY='--identity --key --cert --pin-source --module --json --help' ;;
    'tpm show') REPLY='--tpm --registration-id --json --help' ;;
    'doctor') REPLY='--identity --key --cert --pin-source --module --tpm --endpoint --ca --proxy --timeout --json --help' ;;
    'provision') REPLY='--id-scope --endpoint --transport --attestation --proxy --proxy-auth --ca --key --cert --pin-source --module --tpm --registration-id --payload --timeout --retry-state --spread --output --json --quiet --verbose --help' ;;
    'hub send') REPLY='--registration --hub --device-id --id-scope --endpoint --retry-state --no-reprovision --transport --attestation --proxy --proxy-auth --ca --key --cert --pin-source --module --tpm --timeout --content-type --properties --json --quiet --verbose --help' ;;
    'hub listen') REPLY='--registration --hub --device-id --id-scope --endpoint --retry-state --no-reprovision --transport --attestation --proxy --proxy-auth --ca --key --cert --pin-source --module --tpm --timeout --duration --events --json --verbose --help' ;;
    'hub twin') REPLY='--registration --hub --device-id --id-scope --endpoint --retry-state --no-reprovision --transport --attestation --proxy --proxy-auth --ca --key --cert --pin-source --module --tpm --timeout --json --verbose --help' ;;
    'enroll create') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --definition --cert --secondary-cert --ca-reference --endorsement-key --symmetric-key --symmetric-keys --hub --device-id --allocation --reprovision --twin --iot-edge --enabled --disabled --help' ;;
    'enroll get') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --help' ;;
    'enroll update') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --definition --cert --secondary-cert --ca-reference --endorsement-key --symmetric-key --symmetric-keys --hub --device-id --allocation --reprovision --twin --iot-edge --enabled --disabled --etag --help' ;;
    'enroll delete') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --etag --help' ;;
    'enroll list') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --help' ;;
    'enroll bulk') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --mode --quiet --help' ;;
    'enroll keys') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --group --output --help' ;;
    'enroll device-key') REPLY='--symmetric-keys --output --json --help' ;;
    'enroll state') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --help' ;;
    'enroll states') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --help' ;;
    'enroll forget') REPLY='--connection --ca --proxy --proxy-auth --timeout --json --etag --help' ;;
    '') REPLY='--help --version' ;;
    *) REPLY='--help' ;;
  esac
}

# _keynym_values OPTION: false for a switch; the values where they are a list, else nothing, and files are completed
_keynym_values() {
  case $1 in
    '--algorithm') REPLY='EC:P-256 EC:P-384 EC:P-521 RSA:2048 RSA:3072 RSA:4096 ED25519 ED448 X25519 X448' ;;
    '--allocation') REPLY='hashed static geoLatency custom' ;;
    '--attestation') REPLY='x509 symmetric-key tpm' ;;
    '--attestation-key') REPLY='' ;;
    '--ca') REPLY='' ;;
    '--ca-reference') REPLY='' ;;
    '--cert') REPLY='' ;;
    '--code') REPLY='' ;;
    '--connection') REPLY='' ;;
    '--content-type') REPLY='' ;;
    '--days') REPLY='' ;;
    '--definition') REPLY='' ;;
    '--device-id') REPLY='' ;;
    '--duration') REPLY='' ;;
    '--endorsement-key') REPLY='' ;;
    '--endpoint') REPLY='' ;;
    '--etag') REPLY='' ;;
    '--events') REPLY='' ;;
    '--hub') REPLY='' ;;
    '--id-scope') REPLY='' ;;
    '--identity') REPLY='' ;;
    '--key') REPLY='' ;;
    '--mode') REPLY='create update updateIfMatchETag delete' ;;
    '--module') REPLY='' ;;
    '--nonce') REPLY='' ;;
    '--output') REPLY='' ;;
    '--payload') REPLY='' ;;
    '--pin-source') REPLY='' ;;
    '--profile') REPLY='device intermediate' ;;
    '--properties') REPLY='' ;;
    '--proxy') REPLY='' ;;
    '--proxy-auth') REPLY='' ;;
    '--registration') REPLY='' ;;
    '--registration-id') REPLY='' ;;
    '--reprovision') REPLY='migrate reset never' ;;
    '--retry-state') REPLY='' ;;
    '--secondary-cert') REPLY='' ;;
    '--so-pin-source') REPLY='' ;;
    '--spread') REPLY='' ;;
    '--subject') REPLY='' ;;
    '--symmetric-keys') REPLY='' ;;
    '--timeout') REPLY='' ;;
    '--tpm') REPLY='' ;;
    '--transport') REPLY='mqtt mqtt-ws amqp amqp-ws https' ;;
    '--twin') REPLY='' ;;
    '--usage') REPLY='' ;;
    *) return 1 ;;
  esac
}

# Readline takes words apart at ':' and '='. Joins them again, up to the cursor.
_keynym_join() {
  local i word open=
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]-}
    if [[ ${#words[@]} -gt 0 && (-n $open || $word =~ ^[:=]+$) ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    open=
    [[ $word =~ ^[:=]+$ ]] && open=1
  done
}

_keynym() {
  local REPLY words=() cur path= i word below taken=' ' option= prefix= list
  COMPREPLY=()
  _keynym_join
  cur=${words[-1]}
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    word=${words[i]}
    _keynym_words "$path"
    below=$REPLY
    if [[ $word == -* ]]; then
      taken+="${word%%=*} "
      if [[ $word != *=* ]] && _keynym_values "$word"; then
        i=$((i + 1))
        ((i < ${#words[@]} - 1)) || option=$word
      fi
    elif [[ $word != help && " $below " == *" $word "* ]]; then
      path=${path:+$path }$word
    fi
  done
  if [[ -z $option && $cur == --*=* ]]; then
    option=${cur%%=*}
    prefix=$option=
  fi
  if [[ -n $option ]]; then
    _keynym_values "$option" || return 0
    list=$REPLY
  elif [[ $cur == -* ]]; then
    _keynym_options "$path"
    list=
    for word in $REPLY; do
      [[ $taken == *" $word "* ]] || list+="$word "
    done
  else
    _keynym_words "$path"
    list=$REPLY
  fi
  # nothing to offer: readline completes file names
  [[ -n $list ]] || return 0
  # shellcheck disable=SC2207 # the words have no spaces
  COMPREPLY=($(compgen -W "$list" -- "${cur#"$prefix"}"))
  # readline replaces only what is behind the last ':'
  word=${cur#"$prefix"}
  if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("${COMPREPLY[@]#"${word%:*}:"}")
  fi
}

complete -o bashdefault -o default -F _keynym keynym
