# bash completion for machinedctl, and for the verbs of it that machinectl has too

_machinedctl_verbs='mount umount mounts network'
_machinedctl_options='--help --version --no-pager --no-legend --no-ask-password --json= --read-only --recursive --lazy'

# Machines that run and images.
_machinedctl_names() {
  { machinectl list --full --no-legend --no-pager; machinectl list-images --full --no-legend --no-pager; } 2>/dev/null |
    { while read -r name _; do echo "$name"; done; } | sort -u
}

_machinedctl_network_words='list status leases set-lease forward take-down cat-config'

# Names that have or had an address.
_machinedctl_leases() {
  machinedctl network leases --no-legend --no-pager 2>/dev/null |
    { while read -r name _; do echo "$name"; done; } | sort -u
}

# Networks that are configured.
_machinedctl_networks() {
  machinedctl network list --no-legend --no-pager 2>/dev/null | { while read -r name _; do echo "$name"; done; }
}

# Ports that lead into a machine.
_machinedctl_forwards() {
  machinedctl network forward --no-legend --no-pager 2>/dev/null |
    { while read -r name listen _; do [[ $name != "$1" ]] || echo "$listen"; done; }
}

# What may follow the words after `network`.
_machinedctl_network() {
  case "$*" in
    '') echo "$_machinedctl_network_words" ;;
    forward) echo 'add remove' ;;
    status) _machinedctl_networks ;;
    set-lease | 'forward add' | 'forward remove') _machinedctl_leases ;;
    'forward remove '*) [[ -n $4 ]] || _machinedctl_forwards "$3" ;;
  esac
}

# What is mounted.
_machinedctl_mounts() {
  machinedctl mounts --no-legend --no-pager 2>/dev/null | { while read -r name _; do echo "$name"; done; }
}

# The words on the command line that are no options, as far as they are complete: the verb comes first.
_machinedctl_given() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* || ${COMP_WORDS[i]} == = ]] || [[ ${COMP_WORDS[i - 1]} == = ]] ||
      echo "${COMP_WORDS[i]}"
  done
}

# The verb on the command line, if there is one already.
_machinedctl_verb() {
  _machinedctl_given | { read -r verb && echo "$verb"; }
}

_machinedctl() {
  local current=${COMP_WORDS[COMP_CWORD]} words
  if [[ ${COMP_WORDS[COMP_CWORD - 1]} == --json || ${COMP_WORDS[COMP_CWORD - 2]} == --json ]]; then
    current=${current#=} words='pretty short off'
  elif [[ $current == -* ]]; then
    words=$_machinedctl_options
  else
    case $(_machinedctl_verb) in
      '') words=$_machinedctl_verbs ;;
      mount) words=$(_machinedctl_names) ;;
      umount) words=$(_machinedctl_mounts) ;;
      network)
        local given
        mapfile -t given < <(_machinedctl_given)
        words=$(_machinedctl_network "${given[@]:1}")
        ;;
      *) words= ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
}

complete -F _machinedctl machinedctl
