#!/usr/bin/env bash
# generate.sh KEYNYM: prints keynym.bash, the completion for bash, from the help of every command.
#   prov_client/completion/generate.sh build/ci/prov_client/keynym >prov_client/completion/keynym.bash
set -euo pipefail
keynym=$1
children() { "$keynym" "$@" --help | sed -n '/^Commands/,/^$/p' | awk 'NR > 1 && NF && $1 != "help" { print $1 }'; }
# the lines of the options: "--name VALUE  text"
options() { "$keynym" "$@" --help | sed -n 's/^  \(--[a-z].*\)$/\1/p'; }
names() { awk '{ print $1 }' | paste -sd' '; }
row() { printf "    '%s') REPLY='%s' ;;\n" "$1" "$2"; } # KEY WORDS

cat <<'HEAD'
# Completion of keynym for bash. Made by generate.sh from the help of every command; a test compares.

# _keynym_words PATH: the commands below it ("" is keynym itself), or nothing where it is a command with options
_keynym_words() {
  case $1 in
HEAD
row "" "$(children | paste -sd' ') help"
for group in $(children); do
  below=$(children "$group" | paste -sd' ')
  [ -z "$below" ] || row "$group" "$below help"
done
cat <<'MIDDLE'
    *) REPLY= ;;
  esac
}

# _keynym_options PATH: the options of a command
_keynym_options() {
  case $1 in
MIDDLE
leaves=() all=""
for group in $(children); do
  below=$(children "$group")
  [ -n "$below" ] || leaves+=("$group")
  for child in $below; do leaves+=("$group $child"); done
done
for leaf in "${leaves[@]}"; do
  # shellcheck disable=SC2086 # one or two words
  lines=$(options $leaf)
  all+=$lines$'\n'
  row "$leaf" "$(names <<<"$lines")"
done
cat <<'MIDDLE'
    '') REPLY='--help --version' ;;
    *) REPLY='--help' ;;
  esac
}

# _keynym_values OPTION: false for a switch; the values where they are a list, else nothing, and files are completed
_keynym_values() {
  case $1 in
MIDDLE
sort -u <<<"$all" | while read -r name value text; do
  [[ $value =~ ^[A-Z] ]] || continue
  words=""
  case $name in # those whose help is the list of what they take
  --transport | --attestation | --algorithm | --profile | --allocation | --reprovision | --mode)
    words=$(sed -E 's/: .*//; s/ ?\([^)]*\)//g; s/,? or /, /g; s/,//g' <<<"$text")
    ;;
  esac
  row "$name" "$words"
done
cat <<'TAIL'
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
TAIL
