# bash completion for machinedctl, and for the verbs of it that machinectl has too

_machinedctl_verbs='mount umount mounts network'
_machinedctl_options='--help --version --no-pager --no-legend --no-ask-password --json= --read-only --recursive --lazy'

# Machines that run and images.
_machinedctl_names() {
  { machinectl list --full --no-legend --no-pager; machinectl list-images --full --no-legend --no-pager; } 2>/dev/null |
    { while read -r name _; do echo "$name"; done; } | sort -u
}

# What is mounted.
_machinedctl_mounts() {
  machinedctl mounts --no-legend --no-pager 2>/dev/null | { while read -r name _; do echo "$name"; done; }
}

# The verb on the command line, if there is one already.
_machinedctl_verb() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* || ${COMP_WORDS[i]} == = ]] || [[ ${COMP_WORDS[i - 1]} == = ]] || {
      echo "${COMP_WORDS[i]}"
      return
    }
  done
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
      *) words= ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
}

complete -F _machinedctl machinedctl
